"""What time alone brings about: retries, graces, unclaimed orders, leases that ran out. One index serves all."""

from __future__ import annotations

from datetime import timedelta

from warrener.errors import Cause
from warrener.states import Move, State
from warrener.store import TaskRow

from .fleet import MISSED
from .handlers import fail
from .policies import policy_of
from .suspicion import is_dead, note_death
from .tick import Tick


def on_due(tick: Tick, loaded: TaskRow) -> None:
    """Do what is due for a task."""
    row = tick.row(loaded)
    if row.due_at is None or row.due_at > tick.now:
        return
    match row.state:
        case State.WAITING:
            tick.make_ready(row, Move.NEEDS_MET)
        case State.READY:
            _ready(tick, row)
        case State.ORDERED:
            if not _extended(tick, row) and not _awaited(tick, row):
                if row.worker is not None:
                    tick.book.fleet.lapse(row.worker, tick.now)
                tick.make_ready(row, Move.PLACE_ANEW)
        case State.RUNNING | State.UNREACHABLE:
            _lease(tick, row)
        case State.CANCELLING:
            _cancelling(tick, row)
        case _:
            tick.note(row)
            row.due_at = None


def _ready(tick: Tick, row: TaskRow) -> None:
    assert row.ready_at is not None
    grace_s = policy_of(row.policy).grace_s if row.attempt == 0 else None
    if grace_s is not None and (tick.now - row.ready_at).total_seconds() >= grace_s:
        tick.move(row, Move.EXPIRE, message=f"nobody could start it within its grace of {grace_s:g} s")
    else:
        tick.note(row)
        row.due_at = None if grace_s is None else row.ready_at + timedelta(seconds=grace_s)


def _awaited(tick: Tick, row: TaskRow) -> bool:
    """Let an order for one worker wait out its time as long as that worker is heard; tell whether it waits on."""
    if row.worker is None or row.ordered_at is None or not tick.book.fleet.is_heard(row.worker, tick.now):
        return False
    ends_at = row.ordered_at + tick.rules.order_timeout
    if ends_at <= tick.now:
        return False
    tick.note(row)
    row.due_at = min(ends_at, tick.now + MISSED)
    return True


def _lease(tick: Tick, row: TaskRow) -> None:
    if _extended(tick, row):
        return
    on_lost = policy_of(row.policy).on_lost
    if on_lost == "retry":
        if not is_dead(tick, row) or not note_death(tick, row):
            tick.make_ready(row, Move.PLACE_ANEW)
    elif on_lost == "fail":
        tick.move(row, Move.FAIL, cause=Cause.LOST, message=_lost(row))
    elif row.state is State.RUNNING:
        tick.move(row, Move.LOSE, due_at=None, message=f"{_lost(row)}; it is held, as on_lost says")
    else:
        tick.note(row)
        row.due_at, row.message = None, f"{_lost(row)}; it is held, as on_lost says"


def _cancelling(tick: Tick, row: TaskRow) -> None:
    if not _extended(tick, row):
        fail(tick, row, Cause.CANCELLED, "its worker did not confirm in time" if row.worker else "")


def _extended(tick: Tick, row: TaskRow) -> bool:
    """Write down a lease that heartbeats have moved on; tell whether there is one."""
    lease = tick.book.leases.get(row.ref)
    if lease is None or lease <= tick.now:
        return False
    tick.note(row)
    row.due_at = lease
    return True


def _lost(row: TaskRow) -> str:
    return f"its worker {row.worker} stopped answering"
