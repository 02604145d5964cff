"""The longest expected path of each task of a run, from what its definition and the history expect.

The needs and what the definition says are the same for every run of a definition: ranks are computed again only when
the history has changed its mind.
"""

from __future__ import annotations

from collections.abc import Sequence

from warrener.store import TaskRow
from warrener.upward_rank import upward_ranks
from warrener.workflows import Plan

from .book import Book, Paths
from .history import MAX_TASKS_OF_ONE, History
from .policies import policy_of
from .tick import Tick

UNKNOWN_S = 1.0
"""How long a task is thought to take of which nothing is known."""

_KEPT = 256
_MAX_KEPT_TASKS = 2_000


def longest_paths(tick: Tick, plan: Plan) -> Sequence[float]:
    """Return the expected seconds from the start of each task to the end of the run."""
    book = tick.book
    kept = book.paths.get(plan.digest)
    if kept is not None and kept.version in (None, book.history.version(plan.name)):
        return kept.seconds
    learned = any(task.policy.expect_s is None for task in plan.tasks)
    if learned and not book.history.has_read(plan.name):
        book.history.take_in(plan.name, tick.tx.run_times.of(plan.name, MAX_TASKS_OF_ONE))
    seconds = upward_ranks([task.needs for task in plan.tasks], _expected(plan, book.history))
    _keep(book, plan, Paths(book.history.version(plan.name) if learned else None, seconds))
    return seconds


def _expected(plan: Plan, history: History) -> list[float]:
    found = (
        history.expected_s(plan.name, task.name) if task.policy.expect_s is None else task.policy.expect_s
        for task in plan.tasks
    )
    return [UNKNOWN_S if seconds is None else seconds for seconds in found]


def _keep(book: Book, plan: Plan, paths: Paths) -> None:
    book.paths.pop(plan.digest, None)
    if len(plan.tasks) <= _MAX_KEPT_TASKS:
        book.paths[plan.digest] = paths
    if len(book.paths) > _KEPT:
        del book.paths[next(iter(book.paths))]


def expected_s(history: History, row: TaskRow) -> float | None:
    """Return how long a task is expected to run: as its definition says, else as it has run before."""
    said = policy_of(row.policy).expect_s
    return history.expected_s(row.workflow, row.name) if said is None else said


def learn(history: History, row: TaskRow, seconds: float) -> None:
    """Remember how long a task has taken, unless its definition says so anyway."""
    if policy_of(row.policy).expect_s is None:
        history.learn(row.workflow, row.name, seconds)
