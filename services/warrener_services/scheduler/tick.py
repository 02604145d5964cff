"""One tick: everything that came in since the last one, in one transaction.

    deliveries ─▶ handlers ─▶ moves ─▶ successors ─▶ runs ─▶ release ─▶ changes ─▶ commit ─▶ publish, then settle

A tick is the group commit of the scheduler: at idle it holds one message, under load as many as came while the last
one was being committed. It is synchronous, touches the book in place, reads only, and sends nothing. What
must be written is written in one go at its end, and what must go out leaves after that commit. When anything raises,
nothing was written, and the book is thrown away.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from warrener.alerts import Alert, AlertKind
from warrener.errors import Cause
from warrener.ids import BootId, RunId, TaskRef
from warrener.ordering import aged_level, level_of
from warrener.penalties import Penalty
from warrener.runs import COUNTS_AS_CANCELLED, COUNTS_AS_FAILED, RunState, outcome
from warrener.signing import Keys
from warrener.states import FINAL, IN_FLIGHT, Move, State, move
from warrener.store import (
    AttemptRow,
    Changes,
    Death,
    Definition,
    LogPiece,
    ParkedMessage,
    RunRow,
    Stray,
    TaskChange,
    TaskRow,
    Transaction,
)

from .alerting import message_parked, run_refused, task_ended
from .book import MAX_DEFINED, Book
from .outgoing import Outgoing
from .policies import policy_of


@dataclass(frozen=True, slots=True)
class Rules:
    """What a scheduler was told from outside."""

    keys: Keys
    shards: int
    lease: timedelta
    order_timeout: timedelta
    rng: Random

    def lease_of(self, row: TaskRow) -> timedelta:
        own = policy_of(row.policy).lease_s
        return self.lease if own is None else timedelta(seconds=own)


class Tick:
    """One unit of work over the book and a transaction."""

    def __init__(self, book: Book, rules: Rules, tx: Transaction, now: datetime) -> None:
        self.book, self.rules, self.tx, self.now = book, rules, tx, now
        self.out = Outgoing(rules, now)
        self.finished: list[TaskRow] = []
        self.doing: Hashable | None = None  # the row of the store that is being looked at
        self.sent: Sequence[str] = ()  # what the broker has confirmed
        self.handled: list[str] = []  # messages for the inbox
        self.wanted: list[tuple[RunId, str, datetime]] = []
        self.done: list[int] = []
        self.logs: list[LogPiece] = []
        self.strays: list[Stray] = []
        self.parked: list[ParkedMessage] = []
        self.alerts: list[tuple[Alert, datetime]] = []
        self.deaths: list[Death] = []
        self.companies: dict[BootId, set[TaskRef]] = {}  # what lives held that are over
        self.returned: list[BootId] = []
        self.pardoned: list[RunId] = []
        self._penalties: dict[str, Penalty | None] = {}
        self._definitions: dict[str, Definition] = {}
        self._new_runs: dict[RunId, RunRow] = {}
        self._keys: dict[tuple[str, str], RunRow] = {}
        self._runs: dict[RunId, RunRow] = {}
        self._new_tasks: dict[TaskRef, TaskRow] = {}
        self._new_needs: list[tuple[RunId, int, int]] = []
        self._changed: dict[TaskRef, TaskChange] = {}
        self._ended: list[AttemptRow] = []
        self._answered_for: set[int] = set()

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────

    def row(self, loaded: TaskRow) -> TaskRow:
        """Return the one object of a task in this tick, for a row just read from the store."""
        return self.recent(loaded.ref) or self.book.find(loaded.ref) or loaded

    def recent(self, ref: TaskRef) -> TaskRow | None:
        """Return a task as this tick left it, if this tick touched it."""
        change = self._changed.get(ref)
        return change.row if change is not None else self._new_tasks.get(ref)

    def note(self, row: TaskRow) -> None:
        """Remember what the store has, before a task changes for the first time in this tick."""
        if row.ref not in self._new_tasks and row.ref not in self._changed:
            self._changed[row.ref] = TaskChange(row, row.state, row.attempt)

    def move(self, row: TaskRow, what: Move, **fields: Any) -> None:
        """Move a task and set the fields that change with it. Raises IllegalMove, and changes nothing."""
        after = move(row.state, what)
        self.note(row)
        self.book.leave(row)
        row.state = after
        for name, value in fields.items():
            setattr(row, name, value)
        if after in FINAL:
            row.due_at, row.finished_at = None, self.now
            self.finished.append(row)
            self.book.deaths.pop(row.ref, None)
        if after not in IN_FLIGHT:
            self.book.forget(row.ref)
        self.book.enter(row)
        self.book.look_by(row.due_at)
        if after in FINAL or what in (Move.GRANT, Move.RETRY, Move.LOSE):
            self.out.task_event(row)

    def make_ready(self, row: TaskRow, what: Move) -> None:
        """Let a task stand in line: its needs are met, its retry time has come, or it is placed anew."""
        if what is Move.PLACE_ANEW:
            self._end_attempt(row, what, Cause.LOST, "nobody started it in time, or its worker was lost")
        ready_at = row.ready_at if what is Move.PLACE_ANEW and row.ready_at else self.now
        level = aged_level(row.priority, self.now - ready_at)
        self.move(
            row, what, ready_at=ready_at, level=level, due_at=self._ready_due(row, ready_at),
            worker=None, boot=None, ordered_at=None, started_at=None,
        )  # fmt: skip

    def retry(self, row: TaskRow, delay: timedelta, cause: Cause, message: str, exit_code: int | None) -> None:
        """Let a failed attempt be followed by another after a delay."""
        self._end_attempt(row, Move.RETRY, cause, message, exit_code)
        self.move(
            row, Move.RETRY, due_at=self.now + delay, tries=row.tries + 1, worker=None, boot=None,
            ordered_at=None, started_at=None, cause=cause, message=message, exit_code=exit_code,
        )  # fmt: skip

    def _end_attempt(self, row: TaskRow, what: Move, cause: Cause, message: str, exit_code: int | None = None) -> None:
        self._ended.append(
            AttemptRow(
                row.run, row.n, row.attempt, what, row.worker, row.ordered_at, row.started_at, self.now, cause,
                message, exit_code,
            )
        )  # fmt: skip

    def _ready_due(self, row: TaskRow, ready_at: datetime) -> datetime | None:
        """Return when the grace of a ready task ends, if it has one that counts."""
        grace_s = policy_of(row.policy).grace_s if row.attempt == 0 else None
        return None if grace_s is None else ready_at + timedelta(seconds=grace_s)

    def rendered(self, row: TaskRow, section: str) -> None:
        """Keep a section whose templates were filled in."""
        row.section, row.templated = section, False
        self.note(row)
        if (change := self._changed.get(row.ref)) is not None:
            change.rendered = True

    def tasks_of(self, run: RunId) -> list[TaskRow]:
        """Return every task of a run, those that this tick adds as well."""
        stored = [self.row(loaded) for loaded in self.tx.tasks.of_run(run)]
        return stored or [row for row in self._new_tasks.values() if row.run == run]

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────

    def define(self, definition: Definition) -> None:
        """Keep the definition that a new run has, unless the store is known to have it."""
        if definition.digest not in self.book.defined:
            self._definitions[definition.digest] = definition
            if len(self.book.defined) >= MAX_DEFINED:
                self.book.defined.clear()  # the store is asked to keep them once more, which changes nothing
            self.book.defined.add(definition.digest)

    def add_run(self, run: RunRow) -> None:
        """Insert a run that nobody has expanded yet."""
        self._new_runs[run.id] = self._keys[run.owner, run.key] = run

    def expand(self, run: RunRow, tasks: Iterable[TaskRow], needs: Iterable[tuple[RunId, int, int]]) -> None:
        """Give a run its tasks; those that need nothing are ready at once."""
        if run.id not in self._new_runs:
            self._runs[run.id] = run
        self._new_needs.extend(needs)
        for row in tasks:
            self._new_tasks[row.ref] = row
            if not row.unmet:
                row.level = level_of(row.priority)
                self.make_ready(row, Move.NEEDS_MET)
        self.out.run_event(run)

    def refuse_run(self, run: RunRow, reason: str) -> None:
        """End an accepted run that cannot be expanded."""
        self.alert(run_refused(run, reason))
        self._runs[run.id] = run
        run.state, run.finished_at = RunState.FAILED, self.now
        self.out.run_event(run)

    def fresh_run(self, loaded: RunRow) -> RunRow:
        """Return a run as this tick left it, for a row just read from the store."""
        return self._new_runs.get(loaded.id) or self._runs.get(loaded.id) or self.book.runs.get(loaded.id) or loaded

    def look_up(self, names: Collection[tuple[str, str]]) -> None:
        """Look up, for all submissions of this tick at once, which of these owners and keys have a run already."""
        if names:
            self._keys.update(self.tx.runs.known(names))

    def known_run(self, owner: str, key: str) -> RunRow | None:
        """Return the run that an owner has under a key, perhaps since a moment ago; after `look_up`."""
        run = self._keys.get((owner, key))
        return None if run is None else self.fresh_run(run)

    def run(self, run: RunId) -> RunRow | None:
        """Return a run to change; what is changed is saved with the tick."""
        self._fetch({run})
        return self._new_runs.get(run) or self._runs.get(run)

    def _fetch(self, runs: AbstractSet[RunId]) -> None:
        """Make these runs known to this tick: from the book, else from the store."""
        unknown = runs - self._new_runs.keys() - self._runs.keys()
        recent = {run: self.book.runs[run] for run in unknown if run in self.book.runs}
        self._runs.update(recent)
        self._runs.update(self.tx.runs.load(unknown - recent.keys()))

    def close_runs(self) -> None:
        """Count the tasks that finished into their runs, and end the runs that are through."""
        counted = {row.run for row in self.finished}
        self._fetch(counted)
        for row in self.finished:
            run = self._new_runs.get(row.run) or self._runs[row.run]
            run.unfinished -= 1
            run.failed += row.state in COUNTS_AS_FAILED
            run.cancelled += row.state in COUNTS_AS_CANCELLED
            if row.state is not State.SUCCEEDED or row.deadline_at < self.now:
                self.alerts += [(alert, self.now) for alert in task_ended(row, run)]
        for run_id in counted:
            self._judge(self._new_runs.get(run_id) or self._runs[run_id])

    def _judge(self, run: RunRow) -> None:
        state = outcome(
            unfinished=run.unfinished, failed=run.failed, cancelled=run.cancelled,
            cancel_wanted=run.state == RunState.CANCELLING,
        )  # fmt: skip
        if run.unfinished == 0:
            run.state, run.finished_at = state, self.now
            self.book.sites.pop(run.id, None)
            self.out.run_event(run)

    # ── admins ───────────────────────────────────────────────────────────────────────────────────────────────

    def alert(self, alert: Alert) -> None:
        """Tell the admins, when this tick is committed; what is open already is only counted once more."""
        self.alerts.append((alert, self.now))

    def park(self, message: ParkedMessage) -> None:
        """Put a message aside that nobody can handle."""
        self.parked.append(message)
        self.alert(message_parked(message))

    # ── shards ───────────────────────────────────────────────────────────────────────────────────────────────

    def owns(self, shard: int) -> bool:
        """Tell whether a shard is ours; if so, the tick fails should it have been lost meanwhile.

        Asked of everything that is answered for: what a paused scheduler knows may be old, and must not be said.
        """
        if not self.book.owns(shard):
            return False
        self._answered_for.add(shard)
        return True

    # ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────

    def penalise(self, penalty: Penalty) -> None:
        """Keep how a host stands."""
        self._penalties[penalty.host] = self.book.fleet.limits.penalties[penalty.host] = penalty
        if penalty.quarantined(self.now):
            self.alert(
                Alert(
                    AlertKind.HOST_SET_ASIDE, penalty.host,
                    f"host {penalty.host} gets no work until {penalty.until:%H:%M:%S} UTC, then one task as a probe",
                    site=self.book.fleet.site_of(penalty.host), cause=penalty.reason, look="warrener workers",
                )
            )  # fmt: skip
        self.book.fleet.limits.doubted = True
        self.book.look_by(self.now)

    def with_own_penalties(self, stored: dict[str, Penalty]) -> dict[str, Penalty]:
        """Return what the store will have when this tick is written."""
        known = {**stored, **self._penalties}
        return {host: penalty for host, penalty in known.items() if penalty is not None}

    def clear_penalty(self, host: str) -> None:
        """Hold nothing against a host any more."""
        known = self.book.fleet.limits.penalties.pop(host, None)
        if known is not None and known.quarantines:
            self.alert(Alert(AlertKind.HOST_SET_ASIDE, host, f"host {host} gets work as before", over=True))
        self.book.troubles.forget(host)
        self._penalties[host] = None
        self.book.fleet.limits.doubted = True

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────

    def changes(self) -> Changes:
        """Return what the store must keep of this tick; `out` is complete then."""
        self.book.remember(self._new_runs.values())
        self.book.remember(self._runs.values())
        self.out.close()
        return Changes(
            epochs=self._epochs(),
            definitions=list(self._definitions.values()),
            new_runs=list(self._new_runs.values()),
            new_tasks=list(self._new_tasks.values()),
            needs=self._new_needs,
            runs=list(self._runs.values()),
            tasks=list(self._changed.values()),
            attempts=self._ended,
            posted=self.out.posted,
            sent=self.sent,
            handled=[(message_id, self.now) for message_id in self.handled],
            wanted=self.wanted,
            done=self.done,
            logs=self.logs,
            strays=self.strays,
            parked=self.parked,
            alerts=self.alerts,
            deaths=self.deaths,
            returned=self.returned,
            pardoned=self.pardoned,
            penalties=[one for _, one in sorted(self._penalties.items()) if one is not None],
            cleared=[host for host, one in sorted(self._penalties.items()) if one is None],
        )

    def _epochs(self) -> dict[int, int]:
        """Return the epochs of the shards that this tick writes to, or answers for."""
        touched = set(self._answered_for)
        touched.update(row.shard for row in self._new_tasks.values())
        touched.update(change.row.shard for change in self._changed.values())
        touched.update(run.shard for run in self._runs.values())
        epochs = {shard: self.book.epochs[shard] for shard in touched if shard in self.book.epochs}
        assert len(epochs) == len(touched), "a tick touches owned shards only"
        return epochs
