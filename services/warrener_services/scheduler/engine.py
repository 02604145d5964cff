"""The engine: the book, and the ticks that change it. Synchronous; `service.py` brings deliveries and transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from warrener.broker import MAX_BODY_BYTES, Delivery, Message
from warrener.errors import Forged, InvalidMessage
from warrener.messages import (
    Body,
    CancelRuns,
    Claims,
    Heartbeat,
    Logs,
    Members,
    Reports,
    Submit,
    Wake,
    decode,
)
from warrener.signing import HEADER
from warrener.states import HELD, Move, State
from warrener.store import Changes, ParkedMessage, TaskRow, Transaction

from . import handlers, intents
from .alerting import message_parked
from .book import ASIDE, Book
from .demand import tell
from .handlers import LEASE_MARGIN, storable
from .intake import on_submit, take_up
from .limits import look_at_limits
from .lost import recall
from .release import release
from .successors import follow
from .tick import Rules, Tick
from .timers import on_due
from .window import CAPACITY, Window

T = TypeVar("T")

log = structlog.get_logger(__name__)

LOOK_EVERY = timedelta(seconds=1)
"""How often the store is looked into without being told to."""

LIFTED_A_LOOK = 2_000
"""How many tasks age lifts at a look. More: a tick that takes longer; fewer: a long line is lifted late."""
UNSENT_AT_ONCE = 500
"""How many messages of the outbox are read at a time."""

_LAST_CHANCE = timedelta(seconds=5)
"""How long an order stands at least after the book was read: what lies in our queue is handled first."""

_LIMIT = 500
_DUE = 100
"""How many due tasks a tick takes: 10,000 leases that are extended together must not keep a submission waiting."""

_RECORDED = (CancelRuns,)
"""What the inbox remembers: nothing else in it tells that it was done before. A submission is known by its runs' keys,
a claim or a report by the state of its attempt; come again, they are answered again."""

_KINDS: tuple[type[Body], ...] = (Submit, CancelRuns, Claims, Reports, Logs, Heartbeat, Members, Wake)

_SIMPLE: Mapping[type[Body], Callable[..., None]] = {
    Claims: handlers.on_claims,
    Reports: handlers.on_reports,
    Logs: handlers.on_logs,
    Heartbeat: handlers.on_heartbeat,
    Members: handlers.on_members,
}


@dataclass(slots=True)
class Effects:
    """What a committed tick leaves to be done."""

    posted: list[Message] = field(default_factory=list)
    loose: list[Message] = field(default_factory=list)


class Engine:
    """A scheduler's state and the rules that change it."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._tick: Tick | None = None
        self.book = Book()

    def load(self, tx: Transaction, epochs: Mapping[int, int], now: datetime) -> list[Message]:
        """Read the book anew for these shards; return what stands in the outbox, up to `UNSENT_AT_ONCE`.

        Every running attempt gets one lease before it can be swept, and every order its time anew, once: their holders
        may have heard nothing for a while, and their reports may lie in our queue.
        """
        old = self.book
        self.book = Book(
            epochs=epochs,
            fleet=old.fleet,
            peers=old.peers,
            history=old.history,
            troubles=old.troubles,
            aside=old.aside,
            lost=old.lost,
            look_at=now,
            sites=tx.runs.sites(epochs),
        )
        for row in tx.tasks.in_flight(epochs):
            self.book.enter(row)
            if row.state in HELD or (row.state is State.CANCELLING and row.boot is not None):
                self.book.leases[row.ref] = now + self._rules.lease_of(row) + LEASE_MARGIN
            elif row.state is State.ORDERED:
                self.book.leases[row.ref] = _order_ends_at(row, old, now, self._rules.order_timeout)
        self.book.lost.again()
        for death in tx.restraints.deaths(epochs):
            self.book.deaths.setdefault(death.task, []).append(death)
        for lane in tx.tasks.ready_lanes(epochs):
            self.book.windows[lane] = Window(spilled=True)
        return list(tx.mail.unsent(epochs, UNSENT_AT_ONCE))

    def recall(self, tx: Transaction, now: datetime) -> tuple[None, Changes]:
        """Place every order anew that nobody has claimed: the broker that carried them is gone with all its queues."""
        tick = Tick(self.book, self._rules, tx, now)
        for row in list(self.book.in_flight.values()):
            if row.state is State.ORDERED:
                tick.make_ready(row, Move.PLACE_ANEW)
        return None, tick.changes()

    def tick(
        self, tx: Transaction, deliveries: Sequence[Delivery], sent: Sequence[str], now: datetime, *, look: bool = True
    ) -> tuple[Effects, Changes]:
        """Handle what came in, look around if it is time, and release; return what is to be sent once it is written.

        Without `look`, only what was delivered is handled: a message is not to blame for what the store holds.
        """
        tick = self._tick = Tick(self.book, self._rules, tx, now)
        if look and self._is_time(tick):
            self._lift(tick)
        self._refill(tick)
        fresh = self._fresh(tick, deliveries)
        tick.look_up([(body.owner, run.key) for _, body in fresh if isinstance(body, Submit) for run in body.runs])
        for delivery, body in fresh:
            self._handle(tick, delivery, body)
        if look:
            self._look(tick)
            recall(tick)
        follow(tick)
        tick.close_runs()
        self.book.learn(now)
        self.book.tidy(now)
        release(tick)
        tell(tick)
        tick.sent = sent
        changes = tick.changes()
        return Effects([message for _, message in tick.out.posted], tick.out.loose), changes

    def lose(self, queue: str, now: datetime) -> None:
        """Hear that a queue is gone, with what was in it; the next ticks place anew what was ordered through it."""
        self.book.lost.add(queue, now)
        self.book.look_by(now)

    def keep_run_times(self, tx: Transaction, now: datetime) -> None:
        """Write some of what the history has learned, for the schedulers to come."""
        rows = self.book.history.unsaved(_LIMIT, now)
        tx.run_times.keep(rows)
        self.book.history.saved(rows)

    def park(self, delivery: Delivery, reason: str, now: datetime) -> tuple[None, Changes]:
        """Put a message aside that cannot be handled."""
        message = _parked(delivery, reason, now)
        return None, Changes(parked=[message], alerts=[(message_parked(message), now)])

    def _refill(self, tick: Tick) -> None:
        for lane, window in self.book.windows.items():
            if window.low:
                rows = [self._known(row) for row in tick.tx.tasks.ready(self.book.epochs, lane, CAPACITY)]
                for gone in window.refill(rows, CAPACITY):
                    self.book.ready.pop(gone.ref, None)
                self.book.ready.update((row.ref, row) for row in rows)

    def _known(self, loaded: TaskRow) -> TaskRow:
        """Return the one object of a ready task, at the level that the store has for it."""
        row = self.book.ready.get(loaded.ref, loaded)
        row.level = loaded.level
        return row

    def _fresh(self, tick: Tick, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, Body]]:
        """Read the deliveries; leave out what was handled before, park what cannot be read or proved."""
        read: list[tuple[Delivery, Body]] = []
        for delivery in deliveries:
            if delivery.queue == "parked":
                tick.park(_parked_elsewhere(delivery, tick.now))
                continue
            try:
                _refuse_large(delivery)
                body = decode(delivery.kind, delivery.body, *_KINDS)
                if isinstance(body, Submit | CancelRuns):
                    self._rules.keys.submit.check(delivery.body, delivery.headers.get(HEADER, ""))
                read.append((delivery, body))
            except (InvalidMessage, Forged) as error:
                log.warning("parked a message", reason=str(error), kind=delivery.kind)
                tick.park(_parked(delivery, str(error), tick.now))
        return self._unhandled(tick, read)

    def _unhandled(self, tick: Tick, read: list[tuple[Delivery, Body]]) -> list[tuple[Delivery, Body]]:
        """Leave out what the inbox has; other programs may send messages without an id."""
        names = [storable(delivery.message_id) for delivery, body in read if isinstance(body, _RECORDED)]
        seen = tick.tx.mail.handled(names) if names else set()
        fresh: list[tuple[Delivery, Body]] = []
        for delivery, body in read:
            if isinstance(body, _RECORDED) and (name := storable(delivery.message_id)):
                if name in seen:
                    continue
                seen.add(name)  # the same message may be in this tick twice
                tick.handled.append(name)
            fresh.append((delivery, body))
        return fresh

    def _handle(self, tick: Tick, delivery: Delivery, body: Body) -> None:
        match body:
            case Submit():
                accepted = on_submit(tick, body)
                if delivery.reply_to:
                    tick.out.reply(delivery.reply_to, delivery.correlation_id, accepted)
            case CancelRuns():
                intents.cancel_runs(tick, body)
            case Wake() if not self.book.epochs.keys().isdisjoint(body.shards):
                self.book.look_at = tick.now
            case Wake():
                pass  # for another scheduler
            case _:
                _SIMPLE[type(body)](tick, body)

    def _look(self, tick: Tick) -> None:
        """Look into the store if it is time: new runs, intents, what is due."""
        book = self.book
        if not self._is_time(tick):
            return
        book.look_at = tick.now + LOOK_EVERY
        look_at_limits(tick)
        accepted = tick.tx.runs.accepted(book.epochs, _LIMIT)
        for run, definition in self._each(tick, accepted, lambda found: found[0].id):
            take_up(tick, run, definition)
        wanted = tick.tx.notes.intents(book.epochs, _LIMIT)
        for intent in self._each(tick, wanted, lambda intent: (intent.run, intent.id)):
            intents.on_intent(tick, intent)
            tick.done.append(intent.id)
        due = tick.tx.tasks.due(book.epochs, tick.now, _DUE)
        for row in self._each(tick, due, lambda row: row.ref):
            on_due(tick, row)
        if _LIMIT in (len(accepted), len(wanted)) or len(due) == _DUE:
            book.look_at = tick.now  # there may be more

    def _is_time(self, tick: Tick) -> bool:
        book = self.book
        return bool(book.epochs) and book.look_at is not None and tick.now >= book.look_at

    def _lift(self, tick: Tick) -> None:
        """Let age lift ready tasks where they stand, in the store: so many at a look, before anything moves."""
        for lane in tick.tx.tasks.lift(self.book.epochs, tick.now, LIFTED_A_LOOK):
            self.book.window(lane).overtaken()

    def _each(self, tick: Tick, items: Sequence[T], name: Callable[[T], Hashable]) -> Iterator[T]:
        """Go through what was found, without what was left aside; note what is being done."""
        for item in items:
            if not self.book.is_aside(name(item), tick.now):
                tick.doing = name(item)
                yield item
        tick.doing = None

    def blame(self) -> Hashable | None:
        """After a tick that raised: leave aside the row that it was busy with, and return its name, if it was one.

        A row that nothing can be done with must not stop the others. It is tried again after a while.
        """
        tick, self._tick = self._tick, None
        if tick is None or tick.doing is None:
            return None
        self.book.aside[tick.doing] = tick.now + ASIDE
        return tick.doing


def _order_ends_at(row: TaskRow, old: Book, now: datetime, timeout: timedelta) -> datetime:
    """Return until when an order may stand: it gets its time anew once, however often the book is read."""
    known = old.in_flight.get(row.ref)
    if known is None or known.attempt != row.attempt or row.ref not in old.leases:
        return now + timeout
    return max(old.leases[row.ref], now + _LAST_CHANCE)


def _refuse_large(delivery: Delivery) -> None:
    if len(delivery.body) > MAX_BODY_BYTES:
        raise InvalidMessage(
            f"a message of {len(delivery.body):,} bytes: at most {MAX_BODY_BYTES:,} are read, and kept here"
        )


def _name_of(delivery: Delivery) -> str:
    return storable(delivery.message_id) or hashlib.blake2b(delivery.body, digest_size=10).hexdigest()


def _parked(delivery: Delivery, reason: str, now: datetime) -> ParkedMessage:
    """Return a row that every database takes: whoever writes to the broker chose all of its words."""
    return ParkedMessage(
        0, _name_of(delivery), storable(reason), storable(delivery.exchange), storable(delivery.routing_key),
        storable(delivery.kind), delivery.body[:MAX_BODY_BYTES],
        {storable(name): storable(value) for name, value in delivery.headers.items()}, now,
    )  # fmt: skip


def _parked_elsewhere(delivery: Delivery, now: datetime) -> ParkedMessage:
    """Return what another program parked: where it came from stands in the headers."""
    headers = dict(delivery.headers)
    reason = headers.pop("reason", "no reason was given")
    origin = replace(
        delivery, exchange=headers.pop("origin_exchange", ""), routing_key=headers.pop("origin_routing_key", ""),
        kind=headers.pop("origin_kind", delivery.kind), headers=headers,
    )  # fmt: skip
    return _parked(origin, reason, now)
