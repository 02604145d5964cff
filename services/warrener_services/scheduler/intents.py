"""What people want of runs: cancel, retry."""

from __future__ import annotations

from datetime import timedelta

from warrener.errors import Cause
from warrener.ids import RunId
from warrener.messages import CancelRuns
from warrener.runs import FINAL, RunState
from warrener.states import FINAL as FINAL_TASKS
from warrener.states import Move, State, may
from warrener.store import Intent, TaskRow

from .alerting import task_reopened
from .successors import stand_in_line
from .tick import Tick

CONFIRM = timedelta(seconds=5)
"""How long an attempt that no lease bounds (a direct call, a held one) may still report after it was cancelled."""


def on_intent(tick: Tick, intent: Intent) -> None:
    """Do what was asked, as far as the run's state allows."""
    if intent.what == "cancel":
        cancel_run(tick, intent.run)
    else:
        retry_run(tick, intent.run)


def cancel_runs(tick: Tick, message: CancelRuns) -> None:
    """Cancel runs of the owner who asks; those of other shards become intents for their owners."""
    found = tick.tx.runs.load(message.runs)
    for run in found.values():
        if run.owner == message.owner and tick.book.owns(run.shard):
            cancel_run(tick, run.id)
        elif run.owner == message.owner:
            tick.wanted.append((run.id, "cancel", tick.now))
            tick.out.wake(run.shard)


def cancel_run(tick: Tick, run_id: RunId) -> None:
    """Cancel every task of a run that is not final."""
    run = tick.run(run_id)
    if run is None or run.state in FINAL:
        return
    if run.state == RunState.ACCEPTED:
        run.state, run.finished_at = RunState.CANCELLED, tick.now
        tick.out.run_event(run)
        return
    run.state = RunState.CANCELLING
    for row in tick.tasks_of(run_id):
        if row.state not in FINAL_TASKS and row.state is not State.CANCELLING:
            _cancel(tick, row)


def _cancel(tick: Tick, row: TaskRow) -> None:
    was = row.state
    if was in (State.WAITING, State.READY):
        tick.move(row, Move.CANCEL, cause=Cause.CANCELLED)
        return
    direct = was is State.ORDERED and row.lane.startswith("call.")
    # A held task (`on_lost: hold`) has no time of its own any more: its worker gets a last chance to confirm.
    due_at = row.due_at if row.due_at is not None and not direct else tick.now + CONFIRM
    if row.boot is None:
        tick.book.leases.pop(row.ref, None)
    tick.move(row, Move.CANCEL, due_at=due_at)
    if row.boot is not None:
        tick.out.stop(row, "cancelled")
    elif not direct:  # its order must be claimed, and the claim will be refused
        tick.move(row, Move.CONFIRM_CANCEL, cause=Cause.CANCELLED)


def retry_run(tick: Tick, run_id: RunId) -> None:
    """Give what did not succeed in a finished run another go."""
    run = tick.run(run_id)
    if run is None or run.state not in (RunState.FAILED, RunState.CANCELLED):
        return
    rows = {row.n: row for row in tick.tasks_of(run_id)}
    if len(rows) < run.tasks:
        return  # it is leaving the store
    if not rows:  # it ended before it was expanded
        run.state, run.finished_at = RunState.ACCEPTED, None
        return
    if run.site is not None:
        tick.book.sites[run_id] = run.site
    again = [row for row in rows.values() if may(row.state, Move.REOPEN)]
    unmet = dict.fromkeys(rows, 0)
    for upstream, n in tick.tx.tasks.needs_of_run(run_id):
        unmet[n] += rows[upstream].state is not State.SUCCEEDED
    run.state, run.finished_at = RunState.RUNNING, None
    run.unfinished, run.failed, run.cancelled = len(again), 0, 0
    for row in again:
        _reopen(tick, row, unmet[row.n])
    tick.pardoned.append(run_id)
    tick.out.run_event(run)


def _reopen(tick: Tick, row: TaskRow, unmet: int) -> None:
    if (over := task_reopened(row)) is not None:
        tick.alert(over)
    tick.move(
        row, Move.REOPEN, unmet=unmet, tries=0, cause=None, message=None, exit_code=None, output=None,
        worker=None, boot=None, ordered_at=None, started_at=None, finished_at=None, ready_at=None,
    )  # fmt: skip
    if not unmet:
        stand_in_line(tick, row)
