"""A scheduler's engine on a desk: a store in memory, a clock moved by hand, and workers that are played by the test."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, create_engine
from sqlalchemy import Engine as SqlEngine
from sqlalchemy.pool import StaticPool

from warrener.alerts import Alert
from warrener.broker import Delivery, Message
from warrener.ids import AttemptRef, BootId, RunId, TaskRef, WorkerName
from warrener.messages import (
    Accepted,
    Answers,
    AttemptPart,
    Body,
    Claim,
    Claims,
    Demand,
    Event,
    Events,
    Grant,
    Heartbeat,
    Held,
    Kind,
    Limit,
    Order,
    Orders,
    Outcome,
    Receipt,
    Report,
    Reports,
    RunRequest,
    Stop,
    Submit,
    Wake,
    decode,
    encode,
)  # fmt: skip
from warrener.signing import HEADER, ClaimKey, Keys, OrderSigner, SubmitKey
from warrener.states import IN_FLIGHT, State
from warrener.store import Changes, RunFilter, RunRow, TaskRow, Transaction
from warrener.stores.sql import Inline, SqlStore, begin_when_told
from warrener_services.scheduler.engine import Effects, Engine
from warrener_services.scheduler.tick import Rules

T = TypeVar("T")

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHARDS = 4
LEASE = timedelta(seconds=30)
ORDER_TIMEOUT = timedelta(seconds=60)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("this coroutine waits")


def memory_engine() -> SqlEngine:
    """Make an empty SQLite database in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    begin_when_told(engine)
    return engine


@cache
def _migrated(shards: int) -> bytes:
    """Migrate once: it takes longer than most tests."""
    engine = memory_engine()
    at_once(SqlStore(Inline(engine)).migrate(shards=shards))
    try:
        with engine.connect() as connection:
            return _sqlite3(connection).serialize()
    finally:
        engine.dispose()


def _sqlite3(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


class Hand:
    """A worker, played by the test. What it was told is in `grants`, `refusals`, `receipts` and `stops`."""

    def __init__(
        self,
        name: str,
        kind: Kind = Kind.CALL,
        *,
        app: str = "demo",
        slots: int = 4,
        site: str = "local",
        boot: str = "b1",
    ) -> None:
        self.name, self.kind, self.slots, self.site, self.boot = WorkerName(name), kind, slots, site, BootId(boot)
        self.apps = [app] if kind is Kind.CALL else []
        self.grants: list[Grant] = []
        self.refusals: list[tuple[AttemptRef, str]] = []
        self.receipts: list[Receipt] = []
        self.stops: list[Stop] = []
        self.extended: list[AttemptRef] = []
        self.limits: list[Limit] = []
        self._numbers = itertools.count(1)

    def hear(self, answers: Answers) -> None:
        self.receipts += answers.receipts
        self.stops += answers.stops
        if answers.boot == self.boot:
            self.limits += [answers.limit] if answers.limit else []
            self.grants += answers.grants
            self.refusals += [(refusal.ref, refusal.reason) for refusal in answers.refusals]
            self.extended += [part.ref for extension in answers.extensions for part in extension.attempts]

    def beat(self, *held: Grant, state: str = "up", **more: Any) -> Heartbeat:
        beat = Heartbeat(
            worker=self.name, boot=self.boot, seq=next(self._numbers), task_kind=self.kind, apps=self.apps,
            site=self.site, host=self.name, member=self.name, slots=self.slots, free=self.slots, state=state,
            attempts=[Held(run=one.run, n=one.n, attempt=one.attempt, token=one.token) for one in held],
        )  # fmt: skip
        return beat.model_copy(update=more)

    def claim(self, *orders: AttemptPart) -> Claims:
        claims = [Claim(run=order.run, n=order.n, attempt=order.attempt) for order in orders]
        return Claims(worker=self.name, boot=self.boot, site=self.site, seq=next(self._numbers), claims=claims)

    def report(self, one: Order | Grant, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> Reports:
        report = {"run": one.run, "n": one.n, "attempt": one.attempt, "token": one.token, "outcome": outcome, **more}
        return Reports(worker=self.name, boot=self.boot, reports=[Report(**report)])


class Desk:
    """An engine and what goes in and comes out of it. `orders`, `events` and `routes` collect what was published."""

    def __init__(self, *, seed: int = 1, shards: int = SHARDS) -> None:
        rng = Random(seed)
        keys = Keys(
            SubmitKey(b"submit"), ClaimKey(b"claims"),
            OrderSigner(Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))),
        )  # fmt: skip
        self.rules = Rules(keys, shards, LEASE, ORDER_TIMEOUT, rng)
        self.now = START
        self._database = memory_engine()
        with self._database.connect() as connection:
            driver = _sqlite3(connection)
            connection.rollback()
            driver.deserialize(_migrated(shards))
        self.store = SqlStore(Inline(self._database))
        self.engine = Engine(self.rules)
        self.engine.book.peers.name = "scheduler-a"
        self.hands: dict[str, Hand] = {}
        self.orders: list[Order] = []
        self.routes: list[tuple[str, list[str], bool]] = []
        self.events: list[Event] = []
        self.hints: list[Wake | Demand] = []
        self.homes: list[int | None] = []
        self.alerts: list[Alert] = []
        self.effects = Effects()
        self._sent: list[str] = []
        self._replies: dict[str, Accepted] = {}
        self._numbers = itertools.count(1)
        self.own()

    def close(self) -> None:
        self._database.dispose()

    # ── the owner ────────────────────────────────────────────────────────────────────────────────────────────

    def own(self, only: Collection[int] = range(1024)) -> None:
        """Take shards, as a new scheduler or after a crash, and read the book."""

        def take(tx: Transaction) -> Mapping[int, int]:
            return tx.shards.take([row for row in tx.shards.all() if row.shard in only], "desk")

        self.epochs = self.do(take)
        unsent = self.do(lambda tx: self.engine.load(tx, self.epochs, self.now))
        self._sent = [message.message_id for message in unsent]
        for message in unsent:
            self._publish(message)

    def crash(self) -> None:
        """Lose everything that was in memory."""
        self.engine = Engine(self.rules)
        self.engine.book.peers.name = "scheduler-a"
        self.own()

    def do(self, work: Callable[[Transaction], T]) -> T:
        return at_once(self.store.transact(work))

    def deliver(self, *bodies: Body | Delivery) -> Effects:
        """Tick with these messages."""
        deliveries = [body if isinstance(body, Delivery) else self.delivery(body) for body in bodies]
        sent, self._sent = self._sent, []
        self.effects = at_once(self.store.apply(lambda tx: self._tick(tx, deliveries, sent)))
        for message in (*self.effects.posted, *self.effects.loose):
            self._publish(message)
        self._sent = [message.message_id for message in self.effects.posted]
        return self.effects

    def _tick(self, tx: Transaction, deliveries: list[Delivery], sent: list[str]) -> tuple[Effects, Changes]:
        effects, changes = self.engine.tick(tx, deliveries, sent, self.now)
        self.alerts += [alert for alert, _ in changes.alerts]
        return effects, changes

    def wait(self, **length: float) -> None:
        """Let time pass, and the engine look around."""
        self.now += timedelta(**length)
        self.deliver()

    def delivery(self, body: Body | bytes, *, kind: str = "", queue: str = "reports", **more: Any) -> Delivery:
        raw = body if isinstance(body, bytes) else encode(body)
        headers = {HEADER: self.rules.keys.submit.sign(raw)}
        fields = {
            "queue": queue, "exchange": "", "routing_key": "", "kind": kind or body.KIND, "body": raw,
            "message_id": f"m{next(self._numbers)}", "redelivered": False, "priority": 0, "reply_to": None,
            "correlation_id": None, "headers": headers, "tag": None,
        }  # fmt: skip
        return Delivery(**{**fields, **more})

    def _publish(self, message: Message) -> None:
        body = decode(message.kind, message.body, Orders, Answers, Events, Accepted, Claims, Reports, Wake, Demand)
        match body:
            case Orders():
                self.rules.keys.signer.verifier().check(message.body, message.headers[HEADER])
                self.orders += body.orders
                self.homes.append(body.home)
                self.routes.append((message.routing_key, [order.task_name for order in body.orders], body.claim))
            case Answers():
                hand = self.hands.get(message.routing_key.removeprefix("answers."))
                if hand is not None:
                    hand.hear(body)
            case Wake() | Demand():
                self.hints.append(body)
            case Events():
                self.events += body.events
            case Accepted():
                assert message.correlation_id is not None
                self._replies[message.correlation_id] = body

    # ── those outside ────────────────────────────────────────────────────────────────────────────────────────

    def hire(self, *hands: Hand) -> None:
        """Let workers say that they are there."""
        self.hands.update({hand.name: hand for hand in hands})
        self.deliver(*(hand.beat() for hand in hands))

    def ask(self, tasks: Mapping[str, Any], *requests: RunRequest) -> Submit:
        workflow = {"workflow": "w", "tasks": dict(tasks)}
        return Submit(owner="me", workflow=workflow, runs=list(requests) or [RunRequest(key=f"k{next(self._numbers)}")])

    def submit(self, tasks: Mapping[str, Any], *requests: RunRequest) -> RunId:
        """Submit runs and return the first one's id."""
        delivery = self.delivery(
            self.ask(tasks, *requests), reply_to="client", correlation_id=f"c{next(self._numbers)}"
        )
        self.deliver(delivery)
        accepted = self._replies.pop(delivery.correlation_id)
        run = accepted.results[0].run
        assert run is not None, accepted.results[0].problems
        return run

    def reply(self, submit: Submit) -> Accepted:
        delivery = self.delivery(submit, reply_to="client", correlation_id="c")
        self.deliver(delivery)
        return self._replies.pop("c")

    def take_order(self, name: str | None = None) -> Order:
        """Return the newest order (of this task)."""
        return next(order for order in reversed(self.orders) if name in (None, order.task_name))

    def grant(self, hand: Hand, order: Order) -> Grant:
        """Let a worker claim an order, and return its grant."""
        self.deliver(hand.claim(order))
        grant = hand.grants[-1]
        assert grant.ref == order.ref
        return grant

    # ── what the store has ───────────────────────────────────────────────────────────────────────────────────

    def task(self, run: RunId, n: int = 0) -> TaskRow:
        return self.do(lambda tx: tx.tasks.load([TaskRef(run, n)]))[TaskRef(run, n)]

    def states(self, run: RunId) -> dict[str, State]:
        return {row.name: row.state for row in self.do(lambda tx: tx.tasks.of_run(run))}

    def run(self, run: RunId) -> RunRow:
        return self.do(lambda tx: tx.runs.load([run]))[run]

    def strays(self, run: RunId, n: int = 0) -> list[str]:
        return [stray.reason for stray in self.do(lambda tx: tx.notes.strays(TaskRef(run, n)))]

    def all_runs(self) -> list[RunId]:
        return self.do(_all_runs)

    def check(self) -> None:
        """Compare the book with the store, and runs with their tasks."""
        self.do(self._check)

    def _check(self, tx: Transaction) -> None:
        book = self.engine.book
        runs = tx.runs.load(_all_runs(tx))
        rows = [row for run in runs for row in tx.tasks.of_run(run)]
        _check_in_flight(book, [row for row in rows if row.state in IN_FLIGHT])
        _check_ready(book, {row.ref: row for row in rows if row.state is State.READY})
        for run in runs.values():
            _check_run(run, [row for row in rows if row.run == run.id])


def _all_runs(tx: Transaction) -> list[RunId]:
    return [run.id for run in tx.runs.list(RunFilter(limit=100_000))]


def _check_in_flight(book: Any, rows: list[TaskRow]) -> None:
    assert {row.ref for row in rows} == book.in_flight.keys()
    lanes: dict[str, int] = {}
    used: dict[str, int] = {}
    for row in rows:
        mine = book.in_flight[row.ref]
        for field in ("state", "attempt", "tries", "worker", "boot", "due_at", "started_at"):
            assert getattr(mine, field) == getattr(row, field), (row.ref, field)
        reached = row.state is not State.UNREACHABLE
        lanes[row.lane] = lanes.get(row.lane, 0) + row.weight * reached
        if row.worker is not None and reached:
            used[row.worker] = used.get(row.worker, 0) + row.weight
        assert (row.boot is None) or row.worker is not None
        assert row.state not in (State.RUNNING, State.UNREACHABLE) or row.boot is not None
    filled = {lane: slots for lane, slots in lanes.items() if slots}
    assert {lane: one.in_flight for lane, one in book.lanes.items() if one.in_flight} == filled
    assert {worker: slots for worker, slots in book.used.items() if slots} == used
    assert book.leases.keys() <= book.in_flight.keys()


def _check_ready(book: Any, rows: dict[TaskRef, TaskRow]) -> None:
    assert book.ready.keys() <= rows.keys()
    for ref, mine in book.ready.items():
        assert (mine.state, mine.level, mine.ready_at) == (State.READY, rows[ref].level, rows[ref].ready_at)
    for ref, row in rows.items():
        window = book.windows[row.lane]
        assert (ref in window) == (ref in book.ready)
        assert ref in window or window._spilled


def _check_run(run: RunRow, rows: list[TaskRow]) -> None:
    if run.tasks == 0:
        assert not rows
        return
    counted = {state: sum(row.state is state for row in rows) for state in State}
    final = ("succeeded", "failed", "cancelled")
    assert run.tasks == len(rows)
    assert run.unfinished == sum(row.finished_at is None for row in rows)
    assert run.failed == counted[State.FAILED] + counted[State.EXPIRED] + counted[State.UPSTREAM_FAILED]
    assert run.cancelled == counted[State.CANCELLED]
    assert (run.state in final) == (run.unfinished == 0) == (run.finished_at is not None)


def call(function: str = "demo.f", **fields: Any) -> dict[str, Any]:
    """Write a task that calls a function; `args` go to the function."""
    args = fields.pop("args", {})
    once = {"once": True} if fields.pop("once", False) else {}
    return {"call": {"function": function, "args": args, **once}, **fields}


def job(**fields: Any) -> dict[str, Any]:
    """Write a task that runs a command."""
    return {"job": {"argv": ["true"]}, **fields}
