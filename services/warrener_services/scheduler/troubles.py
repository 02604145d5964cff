"""Which trouble is a host's own: what strikes are given for, and what takes them away (`warrener.penalties`).

A host gets a strike for

- a worker that died while it held something, once for each life, and once for each task that may have killed it;
- a failure that the worker itself puts down to the host: a full disk, no more processes;
- an environment that could not be built, or files that could not be staged, where another host lately could do such
  work, and nobody else failed at the same task: then it is neither the task nor the world.

What a user's command or function returns is never held against a host.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import structlog

from warrener.errors import Cause
from warrener.ids import TaskRef
from warrener.messages import Report
from warrener.penalties import clear, strike
from warrener.store import TaskRow

if TYPE_CHECKING:
    from .tick import Tick

log = structlog.get_logger(__name__)
_K = TypeVar("_K")

LATELY = timedelta(minutes=10)
_MAX_TASKS = 2_000
_COMPARED = frozenset({Cause.ENV, Cause.STAGE})


@dataclass(slots=True)
class Troubles:
    """What was seen lately, as far as it tells a host's own trouble from everybody's."""

    _went_well: dict[tuple[str, str], datetime] = field(default_factory=dict)  # by kind and host
    _failed: dict[tuple[str, str], dict[str, datetime]] = field(default_factory=dict)  # by task, the hosts
    _lives: dict[str, None] = field(default_factory=dict)
    _blamed: dict[str, dict[TaskRef, None]] = field(default_factory=dict)  # by host, what strikes were given for

    def went_well(self, kind: str, host: str, now: datetime) -> None:
        _note(self._went_well, (kind, host), now)

    def is_own(self, row: TaskRow, host: str, now: datetime) -> bool:
        """Take in that a task failed on a host; tell whether others could do such work, and nobody failed at this."""
        hosts = self._failed.setdefault((row.workflow, row.name), {})
        _note(hosts, host, now)
        if len(self._failed) > _MAX_TASKS:
            del self._failed[next(iter(self._failed))]
        elsewhere = len(hosts) > 1
        able = any(
            kind == row.kind and other != host and now - at < LATELY for (kind, other), at in self._went_well.items()
        )
        return able and not elsewhere

    def is_new_life(self, boot: str) -> bool:
        """Tell whether the end of this life is news."""
        news = boot not in self._lives
        self._lives[boot] = None
        if len(self._lives) > _MAX_TASKS:
            del self._lives[next(iter(self._lives))]
        return news

    def is_new(self, host: str, tasks: Collection[TaskRef]) -> bool:
        """Tell whether none of these tasks has brought a strike to this host; from now on, all of them have."""
        blamed = self._blamed.setdefault(host, {})
        news = blamed.keys().isdisjoint(tasks)
        blamed.update(dict.fromkeys(tasks))
        while len(blamed) > _MAX_TASKS:
            del blamed[next(iter(blamed))]
        return news

    def forget(self, host: str) -> None:
        """Begin anew with a host that nothing is held against any more."""
        self._blamed.pop(host, None)


def _note(seen: dict[_K, datetime], key: _K, now: datetime) -> None:
    """Note what was seen now, and forget what was not seen lately: names of hosts come and go."""
    seen.pop(key, None)
    seen[key] = now
    while now - seen[oldest := next(iter(seen))] >= LATELY:
        del seen[oldest]


def worker_died(tick: Tick, worker: str, boot: str, tasks: Collection[TaskRef]) -> None:
    """Give a strike for a life that ended while it held these tasks."""
    known = tick.book.fleet.get(worker)
    if known is not None and tick.book.troubles.is_new_life(boot):
        _strike(tick, known.host, tasks, f"its worker {worker} died")


def note_failure(tick: Tick, row: TaskRow, worker: str, report: Report) -> None:
    """Give a strike for a failed attempt if its host is to blame."""
    known = tick.book.fleet.get(worker)
    if known is None or report.cause is None:
        return
    own = report.cause in _COMPARED and tick.book.troubles.is_own(row, known.host, tick.now)
    if report.blames_host or own:
        _strike(tick, known.host, {row.ref}, report.message.partition("\n")[0] or str(report.cause))


def note_success(tick: Tick, row: TaskRow, worker: str) -> None:
    """Take the strikes of a host away that could do its work."""
    penalties = tick.book.fleet.limits.penalties
    if not penalties and row.kind not in _COMPARED:
        return
    known = tick.book.fleet.get(worker)
    if known is None:
        return
    if row.kind in _COMPARED:
        tick.book.troubles.went_well(row.kind, known.host, tick.now)
    penalty = penalties.get(known.host)
    if penalty is not None and clear(penalty, tick.now) is None:
        tick.clear_penalty(known.host)


def _strike(tick: Tick, host: str, tasks: Collection[TaskRef], reason: str) -> None:
    if not tick.book.troubles.is_new(host, tasks):
        return
    known = tick.book.fleet.limits.penalties.get(host)
    penalty = strike(known, host, reason, tick.now)
    if penalty != known:
        log.warning("a strike against a host", host=host, strikes=penalty.strikes, reason=penalty.reason)
        tick.penalise(penalty)
