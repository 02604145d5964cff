"""The store is the truth: what it committed happened, what it did not commit did not.

What an implementation promises:

* `transact` runs a function in one transaction and returns its result after the commit; with fsync, so that the power
  may fail the next moment. When the function raises, nothing is kept. The function is synchronous; it may run in
  another thread and must not touch the event loop.
* StoreUnavailable: the database is away, or went away; whether the commit happened is unknown, so look again.
  StoreRefused: a value or a duplicate was refused; nothing was kept. Fenced: an epoch is no longer the shard's.
* A change of a task is guarded by the state and attempt that it came from; a guard that does not hold raises Fenced,
  for then somebody else has written the shard.
* Readers never wait for writers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

from warrener.alerts import Alert
from warrener.broker import Message
from warrener.ids import AttemptRef, BootId, RunId, TaskRef, WorkerName
from warrener.letters import Alerts, Delays, Letters
from warrener.penalties import Penalty
from warrener.states import State

T = TypeVar("T")


@dataclass(slots=True)
class RunRow:
    """A run. `workflow` is the name; `digest` the definition's. Counts are of its tasks."""

    id: RunId
    shard: int
    owner: str
    key: str
    workflow: str
    digest: str
    params: str
    priority: int | None
    logical_time: datetime | None
    state: str
    accepted_at: datetime
    tasks: int = 0
    unfinished: int = 0
    failed: int = 0
    cancelled: int = 0
    site: str | None = None
    finished_at: datetime | None = None


@dataclass(slots=True, eq=False)
class TaskRow:
    """A task as the store has it; the columns are explained in `stores/tables.py`."""

    run: RunId
    n: int
    shard: int
    name: str
    kind: str
    lane: str
    workflow: str
    section: str
    templated: bool
    policy: str
    priority: int
    weight: int
    deadline_at: datetime
    fanout: int
    state: State
    unmet: int
    level: int
    minus_path_s: float = 0.0
    ready_at: datetime | None = None
    due_at: datetime | None = None
    attempt: int = 0
    tries: int = 0
    worker: WorkerName | None = None
    boot: BootId | None = None
    ordered_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cause: str | None = None
    message: str | None = None
    exit_code: int | None = None
    output: str | None = None
    ref: TaskRef = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.ref = TaskRef(self.run, self.n)

    @property
    def attempt_ref(self) -> AttemptRef:
        return AttemptRef(self.run, self.n, self.attempt)


@dataclass(slots=True)
class TaskChange:
    """A task that moved, and the state and attempt that the store must still have for it.

    `rendered`: the templates of its section were filled in as well.
    """

    row: TaskRow
    was: State
    was_attempt: int
    rendered: bool = False


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt that ended without ending its task: placed anew, or to be tried again."""

    run: RunId
    n: int
    attempt: int
    ended: str
    worker: str | None
    ordered_at: datetime | None
    started_at: datetime | None
    ended_at: datetime
    cause: str | None = None
    message: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow's definition as kept: JSON text by its digest."""

    digest: str
    name: str
    version: str
    definition: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ShardRow:
    """Who owns a shard. `beat` moves while the owner lives."""

    shard: int
    owner: str | None
    epoch: int
    beat: int


@dataclass(frozen=True, slots=True)
class SchedulerRow:
    """A scheduler that takes part. `life` names its process, `beat` moves while that lives."""

    name: str
    life: str
    beat: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What a person wants of a run."""

    id: int
    run: RunId
    what: Literal["cancel", "retry"]


@dataclass(frozen=True, slots=True)
class LogPiece:
    """What an attempt printed, from an offset in characters."""

    run: RunId
    n: int
    attempt: int
    stream: str
    start: int
    text: str


@dataclass(frozen=True, slots=True)
class Stray:
    """A report that was not applied, kept as evidence."""

    run: RunId
    n: int
    attempt: int
    worker: str
    reason: str
    report: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message that nobody could handle, with its reason and where it came from."""

    id: int
    message_id: str
    reason: str
    exchange: str
    routing_key: str
    kind: str
    body: bytes
    headers: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class ConfiguredRow:
    """A setting of all programs; None: it is not configured any more. `version` counts changes of any setting."""

    name: str
    value: str | None
    version: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Drain:
    """A worker or a whole host that a person wants to get no more work."""

    what: Literal["worker", "host"]
    name: str
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Death:
    """A life of a worker that ended while it held an attempt."""

    run: RunId
    n: int
    attempt: int
    shard: int
    worker: WorkerName
    boot: BootId
    at: datetime

    @property
    def task(self) -> TaskRef:
        return TaskRef(self.run, self.n)


@dataclass(frozen=True, slots=True)
class RunTime:
    """How long a task of a workflow takes, as far as was seen up to `at`."""

    workflow: str
    task: str
    mean_s: float
    at: datetime


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list: newest first, before the run `before`."""

    states: Collection[str] = ()
    owner: str | None = None
    workflow: str | None = None
    before: RunId | None = None
    limit: int = 50


@dataclass(slots=True)
class Changes:
    """Everything that one unit of a scheduler's work leaves in the store; written as a whole, or not at all.

    `epochs`: of every shard that is written to, besides the insertion of runs; they must hold at the commit.
    """

    epochs: Mapping[int, int] = field(default_factory=dict)
    definitions: Sequence[Definition] = ()
    new_runs: Sequence[RunRow] = ()
    new_tasks: Sequence[TaskRow] = ()
    needs: Sequence[tuple[RunId, int, int]] = ()  # (run, upstream, n)
    runs: Sequence[RunRow] = ()  # their state, counts, site and end
    tasks: Sequence[TaskChange] = ()
    attempts: Sequence[AttemptRow] = ()
    posted: Sequence[tuple[int, Message]] = ()  # into the outbox, by shard
    sent: Sequence[str] = ()  # ids of confirmed messages, out of the outbox
    handled: Sequence[tuple[str, datetime]] = ()  # ids of messages, for the inbox
    wanted: Sequence[tuple[RunId, str, datetime]] = ()  # intents for other owners
    done: Sequence[int] = ()  # intents that were carried out
    logs: Sequence[LogPiece] = ()
    strays: Sequence[Stray] = ()
    parked: Sequence[ParkedMessage] = ()
    alerts: Sequence[tuple[Alert, datetime]] = ()  # raised or over, and when that was seen
    deaths: Sequence[Death] = ()
    returned: Sequence[BootId] = ()  # lives that were thought dead and are not: their deaths are forgotten
    pardoned: Sequence[RunId] = ()  # runs that a person retries: what their tasks are suspected of is forgotten
    penalties: Sequence[Penalty] = ()  # new, or instead of what the store has of these hosts
    cleared: Sequence[str] = ()  # hosts that nothing is held against any more


class Shards(Protocol):
    """Who owns what."""

    def all(self) -> Sequence[ShardRow]: ...
    def take(self, seen: Iterable[ShardRow], owner: str) -> dict[int, int]:
        """Take those shards that are still as they were seen; return their new epochs."""
        ...

    def keep(self, epochs: Mapping[int, int]) -> None:
        """Move the beat of owned shards; raises Fenced when one is lost."""
        ...

    def release(self, epochs: Mapping[int, int]) -> None:
        """Give up owned shards at once, for whoever comes."""
        ...

    def fence(self, epochs: Mapping[int, int]) -> None:
        """Make sure that these epochs hold until the commit; raises Fenced."""
        ...


class Schedulers(Protocol):
    """Who takes part, so that shards can be spread."""

    def all(self) -> Sequence[SchedulerRow]: ...
    def beat(self, name: str, life: str) -> None:
        """Take part, or go on taking part: the beat moves."""
        ...

    def drop(self, seen: Iterable[SchedulerRow]) -> None:
        """Forget those whose beat has not moved since they were seen."""
        ...


class Runs(Protocol):
    """Runs and definitions."""

    def definition(self, digest: str) -> str | None: ...
    def known(self, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], RunRow]:
        """Return the runs that these owners have under these idempotency keys."""
        ...

    def accepted(self, shards: Collection[int], limit: int) -> Sequence[tuple[RunRow, str]]:
        """Return runs nobody has expanded yet, oldest first, each with its definition."""
        ...

    def count_accepted(self, most: int) -> int:
        """Count the runs of all shards that nobody has expanded yet, up to a number."""
        ...

    def load(self, ids: Collection[RunId]) -> dict[RunId, RunRow]: ...
    def sites(self, shards: Collection[int]) -> dict[RunId, str]:
        """Return the sites of unfinished runs that have one."""
        ...

    def find(self, prefix: str) -> Sequence[RunRow]:
        """Return up to three runs whose id begins so."""
        ...

    def list(self, which: RunFilter) -> Sequence[RunRow]: ...


class Tasks(Protocol):
    """Tasks and what they need."""

    def load(self, refs: Collection[TaskRef]) -> dict[TaskRef, TaskRow]: ...
    def of_run(self, run: RunId) -> Sequence[TaskRow]: ...
    def needs_of_run(self, run: RunId) -> Sequence[tuple[int, int]]:
        """Return (upstream, n) for each need."""
        ...

    def successors(self, refs: Collection[TaskRef]) -> Sequence[tuple[int, TaskRow]]:
        """Return every task that needs one of these, with the number of the one it needs."""
        ...

    def outputs(self, ref: TaskRef) -> dict[str, str | None]:
        """Return the outputs of what a task needs, by name."""
        ...

    def in_flight(self, shards: Collection[int]) -> Sequence[TaskRow]: ...
    def ready(self, shards: Collection[int], lane: str, limit: int) -> Sequence[TaskRow]:
        """Return the first ready tasks of a lane, in their order."""
        ...

    def ready_lanes(self, shards: Collection[int]) -> Sequence[str]: ...
    def lift(self, shards: Collection[int], now: datetime, limit: int) -> set[str]:
        """Give ready tasks whose age deserves it the next level, the longest overdue first; return their lanes.

        It is written at once, and needs no epoch: the level is what the row's age says, whoever writes it.
        """
        ...

    def due(self, shards: Collection[int], now: datetime, limit: int) -> Sequence[TaskRow]:
        """Return tasks whose `due_at` has come, earliest first."""
        ...

    def attempts(self, ref: TaskRef) -> Sequence[AttemptRow]: ...


class Mail(Protocol):
    """What came in and what must go out."""

    def handled(self, message_ids: Sequence[str]) -> set[str]:
        """Return those of these messages that the inbox has."""
        ...

    def unsent(self, shards: Collection[int], limit: int) -> Sequence[Message]: ...
    def forget(self, before: datetime, limit: int) -> int:
        """Drop old inbox rows; return how many."""
        ...


class Notes(Protocol):
    """Intents, logs, evidence, and parked messages."""

    def intents(self, shards: Collection[int], limit: int) -> Sequence[Intent]: ...
    def logs(self, ref: TaskRef, attempt: int, stream: str, start: int, limit: int) -> Sequence[LogPiece]: ...
    def strays(self, ref: TaskRef) -> Sequence[Stray]: ...
    def parked(self, limit: int) -> Sequence[ParkedMessage]: ...
    def parked_one(self, number: int) -> ParkedMessage | None: ...
    def unpark(self, number: int) -> None: ...


@dataclass(frozen=True, slots=True)
class PastRow:
    """A row of a run that is over, as JSON could have it; `finished_at` is the end of the run."""

    table: str
    run: RunId
    finished_at: datetime
    fields: Mapping[str, Any]


class Past(Protocol):
    """What is over, and may leave the store."""

    def find(self, shard: int, before: datetime, limit: int) -> Sequence[PastRow]:
        """Return about `limit` rows of the runs of a shard that finished before a moment, the earliest first.

        A run's own row comes when no other of its rows is left, and with it, as a copy, its definition.
        """
        ...

    def drop(self, rows: Sequence[PastRow], before: datetime) -> None:
        """Drop such rows, but for those of runs that go on meanwhile. Definitions stay."""
        ...

    def forget(self, before: datetime, limit: int) -> int:
        """Drop old strays and parked messages; return how many."""
        ...


class Restraints(Protocol):
    """What keeps work away from workers and hosts."""

    def drains(self) -> Sequence[Drain]: ...
    def drain(self, drain: Drain) -> None:
        """Keep a drain, in place of one of the same worker or host."""
        ...

    def undrain(self, what: str, name: str) -> bool:
        """Forget a drain; tell whether there was one."""
        ...

    def penalties(self) -> Sequence[Penalty]: ...
    def deaths(self, shards: Collection[int]) -> Sequence[Death]:
        """Return the deaths that tasks which are not final are suspected of, by attempt."""
        ...


class RunTimes(Protocol):
    """How long tasks have taken. Hints: whoever writes last wins, and nothing but the order depends on them."""

    def of(self, workflow: str, limit: int) -> dict[str, float]:
        """Return the means of a workflow's tasks in seconds, by the tasks' names; the latest if there are more."""
        ...

    def keep(self, rows: Sequence[RunTime]) -> None:
        """Write means, new or instead of older ones; each task at most once."""
        ...

    def forget(self, before: datetime, limit: int) -> int:
        """Drop what was not written since; return how many."""
        ...


class Configuration(Protocol):
    """What is configured for all programs while they run."""

    def all(self) -> Sequence[ConfiguredRow]:
        """Return every row, by name; the largest version is that of the whole."""
        ...

    def set(self, name: str, value: str | None, at: datetime) -> int:
        """Set a value, or with None unset it; return the new version. Of two at once one raises StoreRefused."""
        ...


class Transaction(Protocol):
    """What a function may do within one transaction."""

    shards: Shards
    schedulers: Schedulers
    runs: Runs
    tasks: Tasks
    mail: Mail
    notes: Notes
    past: Past
    run_times: RunTimes
    configuration: Configuration
    alerts: Alerts
    letters: Letters
    delays: Delays
    restraints: Restraints

    def write(self, changes: Changes) -> None:
        """Write changes, with what else the transaction does.

        Raises StoreRefused when the (owner, key) or id of a new run is taken, and Fenced when an epoch does not hold,
        or the guard of a task. A definition or a piece of a log that is there already stays as it is; a parked message
        gets its id from the store.
        """
        ...


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was fixed when the deployment was made."""

    shards: int = field(default=64)


class Store(Protocol):
    """A database."""

    async def migrate(self, *, shards: int) -> Deployment:
        """Make or upgrade the tables; return what was fixed at the first time (`shards` counts only then)."""
        ...

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run a function in one transaction that may write."""
        ...

    async def apply(self, work: Callable[[Transaction], tuple[T, Changes]]) -> T:
        """Let a function read, then write the changes that it returns; its result is returned after the commit.

        What it reads may be of several moments: only what nobody else writes, or what a guard, an epoch or a unique
        key stands for, can be built on. In return it costs one round trip, where `transact` costs several.

        Calls may overlap. They are carried out in the order in which they were made, and each reads what those before
        it have written; an implementation may call a function while the changes of the one before are being written.
        When one fails, those that were made before its end fail too: with Undone.
        """
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a function on one consistent picture, without writing."""
        ...

    async def close(self) -> None: ...
