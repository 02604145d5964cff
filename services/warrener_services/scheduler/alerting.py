"""What a scheduler tells the admins: tasks that failed for good, expired or are late, and messages that it parked.

Written with the tick that did it, and only by what went wrong: what succeeds costs a comparison.
"""

from __future__ import annotations

from shlex import quote

from warrener.alerts import Alert, AlertKind
from warrener.errors import Cause
from warrener.states import State
from warrener.store import ParkedMessage, RunRow, TaskRow

_KINDS = {State.FAILED: AlertKind.TASK_FAILED, State.EXPIRED: AlertKind.GRACE_MISSED}

_CAUSES: dict[str, str] = {
    Cause.EXIT: "The command itself failed, or was killed, for example for want of memory.",
    Cause.ERROR: "The function raised, or the command could not be started.",
    Cause.TIMEOUT: "It ran longer than its timeout: it hangs, or has more to do than was thought.",
    Cause.STAGE: "A source is missing or damaged, or a disk is full.",
    Cause.ENV: "The environment cannot be built: a package is missing, or the index cannot be reached.",
    Cause.TEMPLATE: "A template of the workflow does not fit the outputs that it got.",
    Cause.LOST: "Its worker died, or was cut off.",
    Cause.REFUSED: "No worker may or can do this: an unknown function, or a path outside its roots.",
}


def task_ended(row: TaskRow, run: RunRow) -> list[Alert]:
    """Return the alerts of a task that has just finished badly, or late."""
    found: list[Alert] = []
    kind = _kind_of(row)
    if kind is not None:
        found.append(_poison(row, run) if kind is AlertKind.TASK_POISON else _failed(kind, row, run))
    if row.finished_at is not None and row.deadline_at < row.finished_at:
        found += _late(row, run)
    return found


def task_reopened(row: TaskRow) -> Alert | None:
    """Return the end of the alert of a task that is given another go; call it before the task moves."""
    kind = _kind_of(row)
    return None if kind is None else _of(kind, row, f"{row.name} is given another go.", over=True)


def _kind_of(row: TaskRow) -> AlertKind | None:
    return AlertKind.TASK_POISON if row.cause == Cause.POISON else _KINDS.get(row.state)


def _of(kind: AlertKind, row: TaskRow, text: str, run: RunRow | None = None, **fields: object) -> Alert:
    owner, site = ("", "") if run is None else (run.owner, run.site or "")
    return Alert(kind, f"{row.run}/{row.name}", text, owner=owner, site=site, **fields)  # type: ignore[arg-type]


def _failed(kind: AlertKind, row: TaskRow, run: RunRow) -> Alert:
    message = row.message or ""
    first, _, more = message.strip().partition("\n")
    tried = f" after {row.tries} tries" if row.tries > 1 else ""
    how = "expired" if kind is AlertKind.GRACE_MISSED else f"failed{tried}"
    if kind is AlertKind.GRACE_MISSED:
        cause = "All workers were busy or away for the whole of its grace."
    else:
        cause = _CAUSES.get(row.cause or "", "")
    return _of(
        kind, row, f"{row.name} of {row.workflow} {how}{f': {first}' if first else '.'}", run, cause=cause,
        look=f"warrener logs {row.run} {quote(row.name)}" if row.kind == "job" else _status(row),
        excerpt=more,
    )  # fmt: skip


def _poison(row: TaskRow, run: RunRow) -> Alert:
    text = f"task {row.name} of {row.workflow} is quarantined: {row.message}"
    return _of(AlertKind.TASK_POISON, row, text, run, look=_status(row))


def _status(row: TaskRow) -> str:
    return f"warrener status {quote(f'{row.run}/{row.name}')}"


def _late(row: TaskRow, run: RunRow) -> list[Alert]:
    """Return that a deadline was missed, for nobody may have noticed yet, and that it is over if there is a result."""
    assert row.finished_at is not None
    late_s = (row.finished_at - row.deadline_at).total_seconds()
    missed = _of(
        AlertKind.DEADLINE_MISSED, row,
        f"{row.name} of {row.workflow} was due at {row.deadline_at:%Y-%m-%d %H:%M:%S} UTC and {row.state}"
        f" {late_s:.0f} s later.",
        run,
        cause="It or what it needs took longer than expected, or waited for workers with room.",
        look=_status(row),
    )  # fmt: skip
    over = _of(AlertKind.DEADLINE_MISSED, row, f"{row.name} {row.state} {late_s:.0f} s late.", over=True)
    match row.state:
        case State.SUCCEEDED:
            return [missed, over]
        case State.CANCELLED | State.SKIPPED:
            return [over]
        case _:
            return [missed]


def run_refused(run: RunRow, reason: str) -> Alert:
    """Return the alert of an accepted run that cannot be begun."""
    return Alert(
        AlertKind.TASK_FAILED, run.id, f"Run {run.id} of {run.workflow} cannot be begun: {reason}", owner=run.owner,
        look=f"warrener status {run.id}",
    )  # fmt: skip


def message_parked(message: ParkedMessage) -> Alert:
    """Return the alert of a message that nobody could handle."""
    return Alert(
        AlertKind.MESSAGE_PARKED, message.message_id,
        f"A message {message.kind or 'without a kind'} to {message.routing_key or 'nowhere'} was parked:"
        f" {message.reason}",
        cause="A program of another version, a wrong key, or somebody who should not write to the broker.",
        look="warrener parked list",
    )  # fmt: skip
