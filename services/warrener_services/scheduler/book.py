"""What a scheduler keeps in mind between ticks: a part of the store, and nothing that the store does not know.

It holds the attempts in flight of its shards (bounded by credit), the best of the ready tasks (bounded by windows),
and what can be learned again: workers, rates, leases. After any doubt it is thrown away and read anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from warrener.ids import RunId, TaskRef
from warrener.matching import smooth_rate
from warrener.states import IN_FLIGHT, State
from warrener.store import Death, RunRow, TaskRow

from .endings import Endings
from .fleet import Fleet
from .history import History
from .lost import Lost
from .peers import Peers
from .troubles import Troubles
from .window import Window

_TIDY_EVERY = timedelta(minutes=1)
_LOST_KEPT = timedelta(minutes=10)

ASIDE = timedelta(minutes=1)
"""How long a row is left aside that nothing could be done with."""

MAX_RUNS = 2_000
"""How many runs are kept at hand."""

MAX_DEFINED = 10_000
"""Of how many definitions it is remembered that the store has them."""


@dataclass(slots=True)
class Lane:
    """How a lane is doing: what is in flight, in slots, and how fast it completes."""

    in_flight: int = 0
    per_second: float = 0.0
    mean_s: float = 0.0
    completed: int = 0
    finished: int = 0
    typical_s: float = 0.0
    """The mean run time of late, right also after the first few."""
    endings: Endings = field(default_factory=Endings)

    def learn(self, elapsed_s: float) -> None:
        """Fold the completions since the last tick into the rate."""
        self.per_second = smooth_rate(self.per_second, self.completed, elapsed_s)
        self.completed = 0

    def finish(self, seconds: float) -> None:
        self.completed += 1
        self.mean_s += (seconds - self.mean_s) * 0.05
        self.finished += 1
        self.typical_s += (seconds - self.typical_s) * max(0.05, 1 / self.finished)


@dataclass(frozen=True, slots=True)
class Paths:
    """The longest paths of the tasks of a definition; `version` of the history that they rest on, None if on none."""

    version: int | None
    seconds: Sequence[float]


@dataclass(slots=True)
class Book:
    """A scheduler's memory."""

    epochs: Mapping[int, int] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=Fleet)
    history: History = field(default_factory=History)
    paths: dict[str, Paths] = field(default_factory=dict)  # by the digests of definitions
    peers: Peers = field(default_factory=Peers)
    in_flight: dict[TaskRef, TaskRow] = field(default_factory=dict)
    ready: dict[TaskRef, TaskRow] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=lambda: defaultdict(Lane))
    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # slots by worker, claimed or meant for it
    runs: dict[RunId, RunRow] = field(default_factory=dict)  # the last ones that changed, of our shards
    sites: dict[RunId, str] = field(default_factory=dict)
    leases: dict[TaskRef, datetime] = field(default_factory=dict)  # extended beyond what the store knows
    deaths: dict[TaskRef, list[Death]] = field(default_factory=dict)  # that tasks of ours are suspected of
    troubles: Troubles = field(default_factory=Troubles)
    aside: dict[Hashable, datetime] = field(default_factory=dict)  # rows that nothing can be done with, until when
    lost: Lost = field(default_factory=Lost)
    defined: set[str] = field(default_factory=set)  # digests of definitions that the store has
    look_at: datetime | None = None  # when to look into the store by itself
    ticked_at: datetime | None = None
    tidied_at: datetime | None = None

    def owns(self, shard: int) -> bool:
        return shard in self.epochs

    def find(self, ref: TaskRef) -> TaskRow | None:
        return self.in_flight.get(ref) or self.ready.get(ref)

    def is_aside(self, name: Hashable, now: datetime) -> bool:
        until = self.aside.get(name)
        return until is not None and now < until

    def window(self, lane: str) -> Window:
        window = self.windows.get(lane)
        if window is None:
            window = self.windows[lane] = Window()
        return window

    def enter(self, row: TaskRow) -> None:
        """Count a task where its state puts it."""
        if row.state is State.READY:
            self.ready[row.ref] = row
            for spilled in self.window(row.lane).push(row):
                self.ready.pop(spilled.ref, None)
        elif row.state in IN_FLIGHT:
            self.in_flight[row.ref] = row
            self._fill(row, row.weight)

    def leave(self, row: TaskRow) -> None:
        """Undo `enter`, before the row changes."""
        if row.state is State.READY:
            if self.ready.pop(row.ref, None) is not None:
                self.window(row.lane).discard(row.ref)
        elif self.in_flight.pop(row.ref, None) is not None:
            self._fill(row, -row.weight)

    def _fill(self, row: TaskRow, slots: int) -> None:
        """Count slots that are in use; those of a host that is out of reach are nobody's until it is back."""
        if row.state is State.UNREACHABLE:
            return
        self.lanes[row.lane].in_flight += slots
        if row.worker is not None:
            self.used[row.worker] += slots
            if not self.used[row.worker]:
                del self.used[row.worker]

    def forget(self, ref: TaskRef) -> None:
        """Drop what was known of an attempt that is over."""
        self.leases.pop(ref, None)

    def remember(self, runs: Iterable[RunRow]) -> None:
        """Keep unfinished runs of our shards at hand; nobody else changes them. The oldest go when there are many."""
        for run in runs:
            self.runs.pop(run.id, None)
            if run.finished_at is None and self.owns(run.shard):
                self.runs[run.id] = run
        while len(self.runs) > MAX_RUNS:
            del self.runs[next(iter(self.runs))]

    def look_by(self, moment: datetime | None) -> None:
        """Look no later than this."""
        if moment is not None and (self.look_at is None or moment < self.look_at):
            self.look_at = moment

    def tidy(self, now: datetime) -> None:
        """Forget, now and then, idle lanes and workers long silent: names come and go."""
        if self.tidied_at is not None and now - self.tidied_at < _TIDY_EVERY:
            return
        self.tidied_at = now
        self.fleet.forget(now)
        self.lost.forget(now - _LOST_KEPT)
        self.aside = {name: until for name, until in self.aside.items() if now < until}
        self.windows = {lane: window for lane, window in self.windows.items() if not window.spent}
        idle = [lane for lane, load in self.lanes.items() if not load.in_flight and lane not in self.windows]
        for lane in idle:
            if not self.fleet.of_lane(lane, now):  # whose rate and mean are worth keeping
                del self.lanes[lane]

    def learn(self, now: datetime) -> None:
        """Fold completions into the lanes' rates, at most every ten milliseconds."""
        if self.ticked_at is None:
            self.ticked_at = now
        elapsed = now - self.ticked_at
        if elapsed >= timedelta(milliseconds=10):
            for lane in self.lanes.values():
                lane.learn(elapsed.total_seconds())
            self.ticked_at = now
