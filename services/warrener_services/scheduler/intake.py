"""How runs come in: by message, or through the store from a gateway.

A run is one row when it is accepted; the owner of its shard expands it into tasks. By message to an owner both happen
in one tick; a run of a shard that is not ours stays `accepted` until its owner looks.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import structlog

from warrener.errors import InvalidWorkflow
from warrener.messages import Acceptance, Accepted, RunRequest, Submit
from warrener.ordering import level_of
from warrener.runs import RunState
from warrener.states import State
from warrener.store import RunRow, TaskRow
from warrener.stores.tables import NEVER
from warrener.submission import definition_row, facts_of, make_run
from warrener.workflows import Definition, Plan

from .paths import longest_paths
from .tick import Tick

log = structlog.get_logger(__name__)


def on_submit(tick: Tick, message: Submit) -> Accepted:
    """Accept runs; the same owner and key always give the same run."""
    try:
        definition = Definition.read(json.dumps(message.workflow, separators=(",", ":")))
    except InvalidWorkflow as error:
        refused = [Acceptance(key=run.key, problems=list(error.problems)) for run in message.runs]
        return Accepted(results=refused)
    results = [_accept(tick, message.owner, definition, request) for request in message.runs]
    if any(result.new and result.run for result in results):
        tick.define(definition_row(definition, tick.now))
    return Accepted(results=results)


def _accept(tick: Tick, owner: str, definition: Definition, request: RunRequest) -> Acceptance:
    known = tick.known_run(owner, request.key)
    if known is not None:
        return Acceptance(key=request.key, run=known.id, new=False, state=known.state)
    run = make_run(owner, definition, request, now=tick.now, shards=tick.rules.shards, rng=tick.rules.rng)
    try:
        plan = definition.plan(request.params, run=facts_of(run))
    except InvalidWorkflow as error:
        return Acceptance(key=request.key, problems=list(error.problems))
    tick.add_run(run)
    if tick.book.owns(run.shard):
        expand(tick, run, plan)
    else:
        tick.out.wake(run.shard)
    return Acceptance(key=request.key, run=run.id, state=run.state)


def take_up(tick: Tick, loaded: RunRow, text: str) -> None:
    """Expand a run that somebody else accepted; `text` is its definition."""
    run = tick.fresh_run(loaded)
    if run.state != RunState.ACCEPTED:
        return  # cancelled since, in this very tick
    try:
        plan = Definition.read(text).plan(json.loads(run.params), run=facts_of(run))
    except InvalidWorkflow as error:  # accepted by a program of another version than ours
        log.error("cannot expand an accepted run", run=run.id, reason=str(error))
        tick.refuse_run(run, str(error))
    else:
        expand(tick, run, plan)


def expand(tick: Tick, run: RunRow, plan: Plan) -> None:
    """Make the tasks of a run, and let those that need nothing stand in line."""
    run.state = RunState.RUNNING
    run.tasks = run.unfinished = len(plan.tasks)
    fanout = [0] * len(plan.tasks)
    needs = [(run.id, upstream, task.n) for task in plan.tasks for upstream in task.needs]
    for _, upstream, _ in needs:
        fanout[upstream] += 1
    paths_s = longest_paths(tick, plan)
    rows = [
        TaskRow(
            run=run.id, n=task.n, shard=run.shard, name=task.name, kind=task.kind.value, lane=task.lane,
            workflow=run.workflow, section=task.text,
            templated=task.templated, policy=task.policy_text,
            priority=task.priority, weight=task.weight, deadline_at=_deadline(tick.now, task.policy.deadline_s),
            fanout=fanout[task.n], state=State.WAITING, unmet=len(task.needs), level=level_of(task.priority),
            minus_path_s=-paths_s[task.n],
        )
        for task in plan.tasks
    ]  # fmt: skip
    tick.expand(run, rows, needs)


def _deadline(now: datetime, deadline_s: float | None) -> datetime:
    return NEVER if deadline_s is None else now + timedelta(seconds=deadline_s)
