"""Alerts and letters as the store keeps them: the contract of what the alert desks share.

A letter is one mail to one address, or one call of one webhook; it tells of one alert or folds many. Several desks may
run: what they sort they sort one after another (`hold`), and a letter is handed over by whoever takes it first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from warrener.alerts import Alert, Severity


@dataclass(slots=True)
class AlertRow:
    """An alert as it is kept: an episode, once it is sorted. `alert.over` rows exist only until then."""

    id: int
    alert: Alert
    at: datetime
    episode: str
    sorted_at: datetime | None = None
    repeats: int = 0
    over_at: datetime | None = None
    over_text: str | None = None
    acked_at: datetime | None = None
    acked_by: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts to list: newest first, before the number `before`. `open`: neither over nor acknowledged."""

    open: bool = False
    kinds: Collection[str] = ()
    severities: Collection[Severity] = ()
    site: str | None = None
    owner: str | None = None
    subject: str | None = None
    before: int | None = None
    limit: int = 50


@dataclass(slots=True)
class Letter:
    """A letter. `content` is text of the desk's; `sealed`: it may be out already, and nothing is added any more."""

    token: str
    destination: str
    fold: str
    content: str
    opened_at: datetime
    due_at: datetime
    try_at: datetime
    span_s: float
    tries: int = 0
    sealed: bool = False
    taken_by: str | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    id: int = 0  # 0: the store does not have it yet


@dataclass(slots=True)
class Sorted:
    """What became of alerts: `kept` became episodes, `dropped` told nothing new."""

    kept: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    repeated: dict[int, int] = field(default_factory=dict)  # episodes, and how often they were raised again
    over: list[tuple[int, datetime, str]] = field(default_factory=list)  # episodes, when they ended, and how


class Alerts(Protocol):
    """The alerts."""

    def receive(self, alert: Alert, at: datetime, message_id: str) -> None:
        """Keep an alert that came by message, once for each message."""
        ...

    def list(self, which: AlertFilter) -> Sequence[AlertRow]: ...
    def load(self, ids: Collection[int]) -> Sequence[AlertRow]:
        """Return these, oldest first."""
        ...

    def ack(self, number: int, by: str, note: str, at: datetime) -> None: ...
    def unsorted(self, limit: int) -> Sequence[AlertRow]:
        """Return what no desk has sorted yet, oldest first."""
        ...

    def latest(self, episodes: Collection[str]) -> dict[str, AlertRow]:
        """Return the latest sorted alert of each of these episodes."""
        ...

    def running(self, kind: str, limit: int, after: int = 0) -> Sequence[AlertRow]:
        """Return episodes of a kind that are not over, oldest first, from the one behind the number `after` on."""
        ...

    def settle(self, done: Sorted, now: datetime) -> None:
        """Write what became of unsorted alerts. Raises Fenced when another desk has sorted one of them."""
        ...


class Letters(Protocol):
    """The letters."""

    def hold(self) -> None:
        """Keep other desks from sorting until the commit."""
        ...

    def latest(self, folds: Collection[tuple[str, str]]) -> dict[tuple[str, str], Letter]:
        """Return the latest letter of each (destination, fold)."""
        ...

    def of_fold(self, fold: str) -> Sequence[Letter]: ...
    def add(self, letters: Iterable[Letter]) -> None: ...
    def rewrite(self, letter: Letter) -> None:
        """Write the content of a letter that is not sealed; raises Fenced if it is by now."""
        ...

    def waiting(self, now: datetime, limit: int) -> Sequence[Letter]:
        """Return letters whose time has come, whoever may have taken them."""
        ...

    def take(self, seen: Letter, by: str) -> Letter | None:
        """Take and seal a letter that is still as it was seen; None if it is not."""
        ...

    def end(self, taken: Letter, now: datetime, outcome: str) -> None:
        """Be done with a letter that one took."""
        ...

    def put_back(self, taken: Letter, try_at: datetime, outcome: str, *, sealed: bool) -> None:
        """Let a letter that one took wait for another try."""
        ...


@dataclass(frozen=True, slots=True)
class LateTask:
    """A task without a result at its deadline."""

    run: str
    n: int
    name: str
    workflow: str
    owner: str
    site: str
    state: str
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An unfinished run, and when something last happened to one of its tasks."""

    run: str
    workflow: str
    owner: str
    site: str
    state: str
    accepted_at: datetime
    moved_at: datetime
    unfinished: int
    tasks: int


class Delays(Protocol):
    """What takes longer than it should."""

    def late(self, after: tuple[datetime, str, int], now: datetime, limit: int) -> Sequence[LateTask]:
        """Return unfinished tasks whose deadline has passed, earliest first; `after` is (deadline_at, run, n)."""
        ...

    def open_runs(self, after: tuple[datetime, str], before: datetime, limit: int) -> Sequence[OpenRun]:
        """Return unfinished runs accepted between, oldest first; `after` is (accepted_at, run) of the last one seen.

        Fewer when they have many tasks.
        """
        ...

    def runs(self, ids: Collection[str]) -> dict[str, OpenRun]:
        """Return those of these runs that are unfinished."""
        ...

    def count_ready(self, most: int) -> int:
        """Count the tasks of all shards that are ready, up to a number."""
        ...
