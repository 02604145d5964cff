"""What follows from the tasks that finished: their successors become ready, or fail with them."""

from __future__ import annotations

import json

from warrener.errors import Cause, TaskFailed
from warrener.ids import TaskRef
from warrener.messages import Json
from warrener.states import Move, State
from warrener.store import TaskRow
from warrener.workflows import render_with_outputs, too_long

from .tick import Tick


def follow(tick: Tick) -> None:
    """Carry every finish of this tick on to the tasks that need it, until nothing more follows."""
    done = 0
    while done < len(tick.finished):
        frontier = tick.finished[done:]
        done = len(tick.finished)
        ends = {row.ref: row for row in frontier if row.fanout}
        for upstream, loaded in tick.tx.tasks.successors(ends):
            row = tick.row(loaded)
            if row.state is State.WAITING:
                _carry(tick, ends[TaskRef(row.run, upstream)], row)


def _carry(tick: Tick, upstream: TaskRow, row: TaskRow) -> None:
    if upstream.state is not State.SUCCEEDED:
        message = f"it needs {upstream.name}, which {_became(upstream.state)}"
        tick.move(row, Move.UPSTREAM_FAIL, message=message)
        return
    tick.note(row)
    row.unmet -= 1
    if row.unmet == 0:
        stand_in_line(tick, row)


def stand_in_line(tick: Tick, row: TaskRow) -> None:
    """Make a task ready whose needs are met; its templates are filled in now, as the outputs are there."""
    if row.templated:
        try:
            section = _rendered(row, _outputs(tick, row))
        except TaskFailed as error:
            tick.move(row, Move.FAIL, cause=Cause.TEMPLATE, message=str(error))
            return
        tick.rendered(row, section)
    tick.make_ready(row, Move.NEEDS_MET)


def _rendered(row: TaskRow, outputs: dict[str, Json]) -> str:
    """Fill in a section's templates; raises TaskFailed, also when an order could not carry what comes of it."""
    section = json.dumps(render_with_outputs(json.loads(row.section), outputs), separators=(",", ":"))
    if refusal := too_long(section):
        raise TaskFailed(Cause.TEMPLATE, f"task '{row.name}', with outputs filled in: {refusal}")
    return section


def _outputs(tick: Tick, row: TaskRow) -> dict[str, Json]:
    """Return the outputs of what a task needs: from this tick where they are new, else from the store."""
    outputs = {name: _json(output) for name, output in tick.tx.tasks.outputs(row.ref).items()}
    for fresh in tick.finished:
        if fresh.run == row.run and fresh.name in outputs:
            outputs[fresh.name] = _json(fresh.output)
    return outputs


def _json(output: str | None) -> Json:
    return None if output is None else json.loads(output)


def _became(state: State) -> str:
    return "has failed" if state is State.FAILED else f"is {state.value.replace('_', ' ')}"
