"""Why a task stands where it stands: one sentence that says what it waits for and what would release it.

Pure: the gateway brings the rows and the workers it has heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from warrener.messages import PROGRAMS, Kind
from warrener.runs import RunState
from warrener.states import State
from warrener.store import AttemptRow, RunRow, TaskRow
from warrener.views import WorkerView
from warrener.workflows import Policy

_NAMED = 5
"""How many tasks or workers one sentence names."""

_NO_DEADLINE_YEAR = 9999
"""The store keeps a deadline for every task; that of one that has none lies there."""

_ENDED_BADLY = frozenset({State.FAILED, State.EXPIRED, State.CANCELLED, State.UPSTREAM_FAILED, State.SKIPPED})


def why(  # noqa: PLR0911, PLR0917 - a sentence for each state
    task: TaskRow,
    run: RunRow,
    upstream: Sequence[TaskRow],
    attempts: Sequence[AttemptRow],
    workers: Sequence[WorkerView],
    now: datetime,
) -> str:
    """Say what a task waits for and what would release it.

    `upstream` are the tasks that it needs, `attempts` those that ended without ending it.
    """
    match task.state:
        case State.WAITING:
            return _waiting(task, upstream, attempts, now)
        case State.READY:
            return _ready(task, run, workers, now)
        case State.ORDERED:
            return _ordered(task, now)
        case State.RUNNING:
            return f"It runs on {task.worker} since {_since(task.started_at, now)}{_limit(task)}."
        case State.UNREACHABLE:
            return _unreachable(task, now)
        case State.CANCELLING:
            return _cancelling(task, now)
        case _:
            return _finished(task, upstream, now)


def why_run(run: RunRow, open_tasks: int, now: datetime) -> str:
    """Say what a run waits for."""
    if run.state == RunState.ACCEPTED:
        waited = _span(now - run.accepted_at)
        return (
            f"It was accepted {waited} ago and no scheduler has taken it up yet; if that lasts, start one with"
            " `warrener serve scheduler`."
        )
    if run.finished_at is not None:
        return f"It {_ENDS.get(run.state, 'ended')} at {_clock(run.finished_at, now)}; it waits for nothing."
    one = open_tasks == 1
    return f"It waits for {open_tasks} task{'' if one else 's'} that {'is' if one else 'are'} not finished."


_ENDS: dict[str, str] = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "was cancelled",
}


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _waiting(task: TaskRow, upstream: Sequence[TaskRow], attempts: Sequence[AttemptRow], now: datetime) -> str:
    missing = [row for row in upstream if row.state is not State.SUCCEEDED]
    if missing:
        return f"It waits for {_list([_standing(row) for row in missing])} to succeed."
    if task.due_at is not None and task.tries:
        tries = Policy.model_validate_json(task.policy).retry.count + 1
        return (
            f"It waits until {_clock(task.due_at, now)} for try {task.tries + 1} of {tries}{_because(task, attempts)}."
        )
    if task.due_at is not None:
        return f"It waits until {_clock(task.due_at, now)}."
    return "Everything that it needs has succeeded; its scheduler makes it ready as soon as it looks."


def _standing(row: TaskRow) -> str:
    return f"{row.name} ({row.state})"


def _because(task: TaskRow, attempts: Sequence[AttemptRow]) -> str:
    failed = next((one for one in reversed(attempts) if one.cause is not None), None)
    cause = failed.cause if failed else task.cause
    code = failed.exit_code if failed else task.exit_code
    message = (failed.message if failed else task.message) or ""
    if code is not None and code != 0:
        return f", because the last one ended with exit code {code}"
    if message:
        return f", because the last one failed: {_short(message)}"
    return f", because the last one failed ({cause})" if cause else ""


# ── ready ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _ready(task: TaskRow, run: RunRow, workers: Sequence[WorkerView], now: datetime) -> str:
    able = [worker for worker in workers if _serves(worker, task.lane)]
    alive = [worker for worker in able if worker.state == "up"]
    if not alive:
        return f"It is ready, but {_nobody(task, able)}: {_start(task)}{_grace(task, now)}."
    if run.site is not None and task.kind != Kind.CALL:
        there = [worker for worker in alive if worker.site == run.site]
        if not there:
            return (
                f"It is ready, but no worker of {_lane(task)} is alive at site {run.site}, where its run works:"
                f" {_start(task)} there{_grace(task, now)}."
            )
        alive = there
    return f"It is ready{_since_ready(task, now)}, but {_crowded(task, alive)}{_grace(task, now)}."


def _crowded(task: TaskRow, alive: Sequence[WorkerView]) -> str:
    slots = sum(worker.slots for worker in alive)
    largest = max(alive, key=lambda worker: worker.slots)
    free = max(worker.free for worker in alive)
    if task.weight > largest.slots:
        return (
            f"it needs {task.weight} slots on one worker, and the largest, {largest.name}, has {largest.slots}:"
            f" start a worker with WARRENER_SLOTS={task.weight} or more"
        )
    held_back = [worker for worker in alive if worker.note]
    if not free and held_back:
        names = _list([f"{worker.name} has {worker.note}" for worker in held_back])
        return f"no slot of {_lane(task)} may be filled now ({names}); it starts when that is over or others are free"
    if not free:
        taken = "the only slot" if slots == 1 else f"all {slots} slots"
        return f"{taken} of {_lane(task)} {'is' if slots == 1 else 'are'} taken; {_turn(task)}"
    if task.weight > free:
        return f"it needs {task.weight} slots on one worker, and at most {free} are free; it starts when others end"
    return f"others of {_lane(task)} go before it; {_turn(task)}"


def _turn(task: TaskRow) -> str:
    """Say what decides the turn of a ready task, in the order in which it does."""
    by = [f"priority {task.priority}"]
    if task.deadline_at.year < _NO_DEADLINE_YEAR:
        by.append("its deadline")
    if task.minus_path_s:
        by.append(f"an expected {_roughly(-task.minus_path_s)} to the end of its longest path")
    return f"it starts when its turn comes ({', '.join(by)})"


def _roughly(seconds: float) -> str:
    return _span(timedelta(seconds=seconds)) if seconds >= 10 else f"{seconds:.2g} s"  # noqa: PLR2004 - two digits


def _serves(worker: WorkerView, lane: str) -> bool:
    kind, _, app = lane.partition(".")
    return worker.kind == kind and (not app or app in worker.apps)


def _lane(task: TaskRow) -> str:
    _, _, app = task.lane.partition(".")
    return f"app {app}" if app else f"kind {task.kind}"


def _nobody(task: TaskRow, able: Sequence[WorkerView]) -> str:
    if not able:
        return f"no worker of {_lane(task)} is alive"
    names = _list([f"{worker.name} is {_stands(worker)}" for worker in able])
    return f"no worker of {_lane(task)} takes orders ({names})"


def _stands(worker: WorkerView) -> str:
    if worker.note.startswith(worker.state):
        return worker.note
    return f"{worker.state}: {worker.note}" if worker.note else worker.state


def _start(task: TaskRow) -> str:
    _, _, app = task.lane.partition(".")
    if app:
        return f"start the program that has `Worker({app!r})`, or `warrener up --app` with its module"
    return f"start one with `warrener serve {PROGRAMS[task.kind]}`"


def _since_ready(task: TaskRow, now: datetime) -> str:
    return f" since {_clock(task.ready_at, now)}" if task.ready_at else ""


def _grace(task: TaskRow, now: datetime) -> str:
    grace_s = Policy.model_validate_json(task.policy).grace_s
    if grace_s is None or task.ready_at is None or task.attempt:
        return ""
    return f" (it expires at {_clock(task.ready_at + timedelta(seconds=grace_s), now)})"


# ── in flight ───────────────────────────────────────────────────────────────────────────────────────────────────


def _ordered(task: TaskRow, now: datetime) -> str:
    to = f"to {task.worker} " if task.worker else ""
    anew = f"; if nobody starts it by {_clock(task.due_at, now)}, it is ordered anew" if task.due_at else ""
    return f"It was ordered {to}at {_since(task.ordered_at, now)} and waits for a worker to start it{anew}."


def _limit(task: TaskRow) -> str:
    timeout_s = Policy.model_validate_json(task.policy).timeout_s
    return f"; it may run for {_span(timedelta(seconds=timeout_s))}" if timeout_s else ""


def _unreachable(task: TaskRow, now: datetime) -> str:
    policy = Policy.model_validate_json(task.policy)
    if policy.on_lost == "hold":
        return (
            f"Its worker {task.worker} does not answer, and `on_lost: hold` keeps it there: it goes on when the"
            " worker comes back; cancel the run to give it up."
        )
    then = "it fails" if policy.on_lost == "fail" else "it is placed anew"
    when = f"at {_clock(task.due_at, now)}" if task.due_at else "when its lease has run out"
    return f"Its worker {task.worker} does not answer; unless it comes back, {then} {when}."


def _cancelling(task: TaskRow, now: datetime) -> str:
    who = task.worker or "its worker"
    latest = f", at {_clock(task.due_at, now)} at the latest" if task.due_at else ""
    return f"It is wanted gone and waits for {who} to stop it{latest}."


# ── final ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _finished(task: TaskRow, upstream: Sequence[TaskRow], now: datetime) -> str:
    at = f" at {_clock(task.finished_at, now)}" if task.finished_at else ""
    match task.state:
        case State.SUCCEEDED:
            return f"It succeeded{at}; it waits for nothing."
        case State.FAILED:
            return f"It failed{at}{_reason(task)}; `warrener retry {task.run}` gives it another go."
        case State.UPSTREAM_FAILED:
            bad = [_standing(row) for row in upstream if row.state in _ENDED_BADLY]
            cause = f", because {_list(bad)} did not succeed" if bad else ""
            return f"It was never started{cause}; `warrener retry {task.run}` gives them another go."
        case State.EXPIRED:
            return (
                f"It expired{at}, for nobody could start it within its grace; `warrener retry {task.run}` retries it."
            )
        case State.CANCELLED:
            return f"It was cancelled{at}; `warrener retry {task.run}` gives it another go."
        case _:
            return f"It was skipped{at}; it waits for nothing."


def _reason(task: TaskRow) -> str:
    if task.message:
        return f": {_short(task.message)}"
    if task.exit_code is not None:
        return f" with exit code {task.exit_code}"
    return f" ({task.cause})" if task.cause else ""


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _list(items: Sequence[str]) -> str:
    shown = list(items[:_NAMED])
    if len(items) > _NAMED:
        shown.append(f"{len(items) - _NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _short(text: str) -> str:
    line = ": ".join(" ".join(part.split()) for part in text.splitlines() if part.strip()).rstrip(".")
    return line if len(line) <= 200 else f"{line[:199]}…"  # noqa: PLR2004 - one sentence on a screen


def _since(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "an unknown time"
    return f"{_clock(moment, now)} ({_span(now - moment)} ago)"


def _clock(moment: datetime, now: datetime) -> str:
    """Write a moment in the time zone of `now`, with its day if that is another one."""
    local = moment.astimezone(now.tzinfo)
    zone = f" {local.tzname()}" if local.tzname() else ""
    day = "" if local.date() == now.date() else f"{local:%Y-%m-%d} "
    return f"{day}{local:%H:%M:%S}{zone}"


def _span(length: timedelta) -> str:
    seconds = max(0, round(length.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if seconds < 120:  # noqa: PLR2004 - up to two of a unit are told in the smaller one
        return f"{seconds} s"
    if minutes < 120:  # noqa: PLR2004
        return f"{minutes} min"
    return f"{hours} h" if hours < 48 else f"{days} days"  # noqa: PLR2004
