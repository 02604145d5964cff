"""Looking: rows of the store as views, found by what people type."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from warrener.errors import Conflict, NotFound
from warrener.problems import meant
from warrener.store import AttemptRow, ParkedMessage, RunRow, Stray, TaskRow, Transaction
from warrener.views import (
    AttemptView,
    ParkedDetail,
    ParkedView,
    RunDetail,
    RunView,
    StrayView,
    TaskDetail,
    TaskView,
)

MIN_PREFIX = 4
_SHOWN_BODY = 64 * 1024
_PREFIX = re.compile(r"[0-9a-hjkmnp-tv-z]{1,16}")
_SECRET_HEADERS = frozenset({"signature"})


def find_run(tx: Transaction, prefix: str) -> RunRow:
    """Find the run of an id or of a unique beginning of one; raises NotFound or Conflict."""
    prefix = prefix.lower()
    if not _PREFIX.fullmatch(prefix):
        raise NotFound(f"{prefix[:40]!r} is no id of a run; `warrener runs` lists them")
    if len(prefix) < MIN_PREFIX:
        raise Conflict(f"{prefix!r} is too short; give at least {MIN_PREFIX} characters of the run's id")
    found = tx.runs.find(prefix)
    if not found:
        raise NotFound(f"there is no run {prefix}; `warrener runs` lists them")
    if len(found) > 1:
        some = ", ".join(run.id for run in found)
        raise Conflict(f"several runs begin with {prefix}: {some}; give more of the id")
    return found[0]


def find_task(tx: Transaction, prefix: str, name: str) -> tuple[RunRow, TaskRow, Sequence[TaskRow]]:
    """Find a task by run and name; return the run, the task, and what it needs. Raises NotFound or Conflict."""
    run = find_run(tx, prefix)
    rows = tx.tasks.of_run(run.id)
    if not rows:
        raise NotFound(f"run {run.id} is {run.state} and has no tasks yet: no scheduler has taken it up")
    task = next((row for row in rows if row.name == name), None)
    if task is None:
        near = meant(name, (row.name for row in rows))
        raise NotFound(f"run {run.id} of {run.workflow} has no task {name[:80]!r}{near}")
    needs = {upstream for upstream, n in tx.tasks.needs_of_run(run.id) if n == task.n}
    return run, task, [row for row in rows if row.n in needs]


def run_view(run: RunRow) -> RunView:
    """Show a run as lists have it."""
    return RunView(task_count=run.tasks, **{name: getattr(run, name) for name in _RUN_FIELDS})


def run_detail(run: RunRow, rows: Sequence[TaskRow]) -> RunDetail:
    """Show a run with its tasks; `seen` changes whenever there is news of it."""
    tasks = [task_view(row) for row in rows]
    whole = RunDetail(
        **run_view(run).model_dump(),
        params=json.loads(run.params),
        counts=dict(Counter(row.state.value for row in rows)),
        tasks=tasks,
    )
    # Due times move with every lease; they alone are no news.
    news = whole.model_dump_json(exclude={"tasks": {"__all__": {"due_at"}}})
    return whole.model_copy(update={"seen": hashlib.blake2b(news.encode(), digest_size=8).hexdigest()})


def task_view(row: TaskRow) -> TaskView:
    """Show a task as runs have it."""
    return TaskView(**{name: getattr(row, name) for name in _TASK_FIELDS})


def task_detail(
    row: TaskRow, needs: Sequence[TaskRow], attempts: Sequence[AttemptRow], strays: Sequence[Stray]
) -> TaskDetail:
    """Show a task in full."""
    return TaskDetail(
        **task_view(row).model_dump(),
        run=row.run,
        needs=[need.name for need in needs],
        output=output_of(row),
        attempts=[AttemptView(**{name: getattr(one, name) for name in _ATTEMPT_FIELDS}) for one in attempts],
        strays=[StrayView(attempt=one.attempt, worker=one.worker, reason=one.reason, at=one.at) for one in strays],
    )


def output_of(row: TaskRow) -> object:
    """Return a task's output."""
    return None if row.output is None else json.loads(row.output)


def parked_view(message: ParkedMessage) -> ParkedView:
    """Show a parked message as lists have it."""
    return ParkedView(size_bytes=len(message.body), **{name: getattr(message, name) for name in _PARKED_FIELDS})


def parked_detail(message: ParkedMessage) -> ParkedDetail:
    """Show a parked message; proofs that would let a reader speak for others are left out."""
    headers = {name: "(not shown)" if name in _SECRET_HEADERS else value for name, value in message.headers.items()}
    body = message.body[:_SHOWN_BODY].decode(errors="replace")
    return ParkedDetail(**parked_view(message).model_dump(), headers=headers, body=body)


def _shared(view: type[RunView | TaskView | AttemptView | ParkedView], row: type) -> tuple[str, ...]:
    """Name the fields that a view takes over from a row as they are."""
    there = {one.name for one in fields(row)}
    return tuple(name for name in view.model_fields if name in there)


_RUN_FIELDS = _shared(RunView, RunRow)
_TASK_FIELDS = _shared(TaskView, TaskRow)
_ATTEMPT_FIELDS = _shared(AttemptView, AttemptRow)
_PARKED_FIELDS = _shared(ParkedView, ParkedMessage)
