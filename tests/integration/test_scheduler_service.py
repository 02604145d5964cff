"""The scheduler as a program: what comes and goes around it, with brokers and databases."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from desk import Hand, call
from fleet.postgresql import PostgreSQLServer
from warrener import topology
from warrener.archive import Archive, read_run, runs_in
from warrener.broker import Broker, Message, Queue
from warrener.brokers.memory import MemoryBroker
from warrener.brokers.memory_node import MemoryNode
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.clock import SystemClock
from warrener.errors import BrokerUnavailable, StoreUnavailable
from warrener.ids import RunId, shard_of
from warrener.messages import (
    Accepted,
    Body,
    Events,
    LogChunk,
    Logs,
    Orders,
    RunRequest,
    Submit,
    decode,
    encode,
)  # fmt: skip
from warrener.runs import RunState
from warrener.signing import HEADER, ClaimKey, Keys, OrderSigner, SubmitKey
from warrener.store import Changes, RunFilter, Store
from warrener.stores import open_store
from warrener_services.scheduler import emitter, engine, retiring, service
from warrener_services.scheduler.history import SHORTEST_S
from warrener_services.scheduler.retiring import Keeping
from warrener_services.scheduler.service import SchedulerService
from warrener_services.scheduler.tick import Rules

SHARDS = 2
KEYS = Keys(SubmitKey(b"s"), ClaimKey(b"c"), OrderSigner(Ed25519PrivateKey.from_private_bytes(b"k" * 32)))
REAL = pytest.param("real", marks=[pytest.mark.rabbitmq, pytest.mark.postgresql])
WITHIN_S = 30


class Cuttable:
    """A store or broker with a cable that a test can pull."""

    def __init__(self, part: Any, error: type[Exception], *methods: str) -> None:
        self._part, self._error, self._methods = part, error, methods
        self.cut = False
        self.felt = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        if name not in self._methods:
            return getattr(self._part, name)

        async def method(*given: Any, **named: Any) -> Any:
            if self.cut:
                self.felt.set()
                raise self._error("the cable is cut")
            return await getattr(self._part, name)(*given, **named)

        return method


class World:
    """A broker and a database, schedulers between them, and one client."""

    def __init__(self, connect: Callable[[], Broker], store_url: str) -> None:
        self._connect, self._store_url = connect, store_url
        self._made: list[Any] = []
        self._numbers = itertools.count(1)

    async def begin(self) -> None:
        self.store = self.open()
        await self.store.migrate(shards=SHARDS)
        self.broker = self.connect()
        self.client = await self.broker.subscribe([Queue("client", exclusive=True)], prefetch=100)
        self.events = await self.broker.subscribe([topology.events("test", "runs")], prefetch=100)
        self.orders = await self.broker.subscribe([topology.orders("call.demo")], prefetch=100)

    def open(self) -> Store:
        self._made.append(open_store(self._store_url))
        return self._made[-1]

    def connect(self) -> Broker:
        self._made.append(self._connect())
        return self._made[-1]

    async def end(self) -> None:
        for part in reversed(self._made):
            await part.close()

    @asynccontextmanager
    async def scheduler(self, name: str = "one", **parts: Any) -> AsyncIterator[asyncio.Task[None]]:
        rules = Rules(KEYS, SHARDS, timedelta(seconds=30), timedelta(seconds=60), Random(name))
        fields = {"store": self.open(), "broker": self.connect(), "rules": rules, "clock": SystemClock(), **parts}
        service = SchedulerService(**fields, name=name, shard_lease=timedelta(seconds=1))
        task = asyncio.create_task(service.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await task

    async def send(self, key: str, body: Body, exchange: str = topology.REPORTS) -> None:
        raw = encode(body)
        message = Message(
            exchange, key, body.KIND, raw, f"t{next(self._numbers)}", reply_to="client", correlation_id="c",
            mandatory=exchange == topology.REPORTS, headers={HEADER: KEYS.submit.sign(raw)},
        )  # fmt: skip
        await self.broker.publish(message)

    async def submit(self, key: str) -> None:
        await self.broker.declare([topology.SUBMISSIONS])
        workflow = {"workflow": "w", "tasks": {"a": call()}}
        await self.send("submissions", Submit(owner="me", workflow=workflow, runs=[RunRequest(key=key)]))

    async def accepted(self, *keys: str) -> dict[str, str]:
        """Wait until these were accepted."""
        runs: dict[str, str] = {}
        async with asyncio.timeout(WITHIN_S):
            while not runs.keys() >= set(keys):
                deliveries = await self.client.take(100)
                await self.client.settle(deliveries)
                for delivery in deliveries:
                    body = decode(delivery.kind, delivery.body, Accepted)
                    runs.update({result.key: str(result.run) for result in body.results})
        return runs

    async def known(self, keys: Sequence[str]) -> int:
        """Count the keys that have a run."""
        return len(await self.store.read(lambda tx: tx.runs.known([("me", key) for key in keys])))

    async def ordered(self, run: str) -> Any:
        """Wait for the order of a run, and return it."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                deliveries = await self.orders.take(100)
                await self.orders.settle(deliveries)
                for delivery in deliveries:
                    KEYS.signer.verifier().check(delivery.body, delivery.headers[HEADER])
                    for order in decode(delivery.kind, delivery.body, Orders).orders:
                        if order.run == run:
                            return order

    async def ended(self, run: str) -> str:
        """Wait until a run is final."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                deliveries = await self.events.take(100)
                await self.events.settle(deliveries)
                for delivery in deliveries:
                    for event in decode(delivery.kind, delivery.body, Events).events:
                        if event.run == run and event.state != RunState.RUNNING:
                            return event.state

    async def work(self, key: str) -> None:
        """Submit a run and do its work."""
        await self.submit(key)
        run = (await self.accepted(key))[key]
        hand = Hand("call-a")
        await self.send("heartbeat", hand.beat(), topology.CONTROL)
        order = await self.ordered(run)
        await self.send(str(shard_of(RunId(run))), hand.report(order))
        assert await self.ended(run) == RunState.SUCCEEDED


@pytest.fixture(params=["light", REAL])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "light":
        node = MemoryNode()
        world = World(lambda: MemoryBroker(node), f"sqlite:///{tmp_path / 'store.db'}")
    else:
        url = request.getfixturevalue("amqp_url")
        world = World(lambda: RabbitMQ.connect(url, name="test"), request.getfixturevalue("postgresql_url"))
    try:
        await world.begin()
        yield world
    finally:
        await world.end()


async def test_a_run_goes_its_way(world: World) -> None:
    async with world.scheduler():
        await world.work("a")
        await world.work("b")
    assert [row.owner for row in await world.store.read(lambda tx: tx.shards.all())] == [None] * SHARDS


@pytest.mark.parametrize("away", ["store", "broker"])
async def test_scheduling_goes_on_when_what_was_away_is_back(world: World, away: str) -> None:
    store = Cuttable(world.open(), StoreUnavailable, "transact", "read")
    broker = Cuttable(world.connect(), BrokerUnavailable, "publish", "subscribe", "declare")
    async with world.scheduler(store=store, broker=broker):
        await world.work("before")
        part = store if away == "store" else broker
        part.cut = True
        await world.submit("meanwhile")
        await asyncio.wait_for(part.felt.wait(), WITHIN_S)
        part.cut = False
        if away == "store":
            await world.accepted("meanwhile")
        await world.work("after")
    runs = await world.store.read(lambda tx: tx.runs.known([("me", key) for key in ("before", "meanwhile", "after")]))
    assert len(runs) == 3


async def test_a_bad_message_is_parked_and_its_neighbours_are_applied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strikes = itertools.count(1)

    def fail(*_: Any) -> None:
        next(strikes)
        raise ZeroDivisionError("what a message")

    monkeypatch.setitem(engine._SIMPLE, Logs, fail)
    chunk = LogChunk(run="0" * 16, n=0, attempt=1, token="0" * 32, stream="stdout", offset=0, text="")
    await world.submit("a")
    await world.broker.declare([topology.reports(0)])
    await world.send("0", Logs(worker="w", boot="b", chunks=[chunk]))
    await world.submit("b")
    async with world.scheduler():
        runs = await world.accepted("a", "b")
        await world.work("c")
    (parked,) = await world.store.read(lambda tx: tx.notes.parked(10))
    assert (parked.kind, parked.reason) == ("logs/1", "what a message")
    assert next(strikes) >= 4
    assert len(await world.store.read(lambda tx: tx.runs.load(list(runs.values())))) == 2


@pytest.mark.parametrize("archiving", [True, False])
async def test_finished_runs_leave_by_the_policy(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archiving: bool
) -> None:
    monkeypatch.setattr(retiring, "_EVERY_S", 0.05)
    folder = tmp_path / "archive"
    keeping = Keeping(runs=timedelta(seconds=1), archive=Archive(folder, "one") if archiving else None)
    async with world.scheduler(keeping=keeping):
        await world.work("a")
        await world.submit("open")
        open_run = (await world.accepted("open"))["open"]
        await wait_for_runs(world, {open_run})
        await world.work("a")  # its key is free again
        await wait_for_runs(world, {open_run})
    archived = {run for run, _ in runs_in(folder)}
    assert len(archived) == (2 if archiving else 0)
    for run in archived:
        assert [row["table"] for row in read_run(folder, run)] == ["tasks", "runs", "workflows"]


async def test_what_cannot_be_archived_stays(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retiring, "_EVERY_S", 0.05)
    (tmp_path / "file").write_text("")
    keeping = Keeping(runs=timedelta(microseconds=1), archive=Archive(tmp_path / "file" / "archive", "one"))
    with capture_logs() as said:
        async with world.scheduler(keeping=keeping):
            await world.work("a")
            async with asyncio.timeout(WITHIN_S):
                while not any(line["event"].startswith("cannot archive") for line in said):
                    await asyncio.sleep(0.02)
            await world.work("b")  # scheduling goes on
    assert len(await world.store.read(lambda tx: tx.runs.list(RunFilter()))) == 2


async def wait_for_runs(world: World, runs: set[str]) -> None:
    """Wait until the store has these runs and no others."""
    async with asyncio.timeout(WITHIN_S):
        while {run.id for run in await world.store.read(lambda tx: tx.runs.list(RunFilter()))} != runs:
            await asyncio.sleep(0.02)


async def owners(world: World) -> set[str | None]:
    return {row.owner for row in await world.store.read(lambda tx: tx.shards.all())}


async def wait_for_owner(world: World, name: str) -> None:
    await wait_for_owners(world, {name})


async def wait_for_owners(world: World, names: set[str]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await owners(world) != names:
            await asyncio.sleep(0.05)  # another process's rows announce nothing


async def test_a_second_scheduler_gets_its_share_and_takes_over_the_rest(world: World) -> None:
    async with world.scheduler("one"):
        await world.work("a")
        second = world.scheduler("two")
        await second.__aenter__()
        try:
            await wait_for_owners(world, {"one", "two"})
            for n in range(5):  # of both shards
                await world.work(f"b{n}")
        except BaseException:
            await second.__aexit__(None, None, None)
            raise
    try:
        await wait_for_owner(world, "two")
        await world.work("c")
    finally:
        await second.__aexit__(None, None, None)
    assert await world.store.read(lambda tx: tx.schedulers.all()) == []


async def test_what_one_accepts_for_another_is_ordered_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOOK_EVERY", timedelta(seconds=20))  # nobody finds it by looking
    async with world.scheduler("one"), world.scheduler("two"):
        await wait_for_owners(world, {"one", "two"})
        for n in range(6):
            await asyncio.wait_for(world.work(f"r{n}"), 10)


async def test_the_shards_of_a_dead_scheduler_are_taken_after_the_lease(world: World) -> None:
    store = Cuttable(world.open(), StoreUnavailable, "transact", "read")
    async with world.scheduler("one", store=store):
        await world.work("a")
        store.cut = True  # it cannot give its shards up either
    assert await owners(world) == {"one"}
    async with world.scheduler("two"):
        await wait_for_owner(world, "two")
        await world.work("b")


async def test_a_scheduler_that_is_slow_to_begin_is_not_taken_for_dead(world: World) -> None:
    there = asyncio.Event()

    class Slow(Cuttable):
        async def subscribe(self, *given: Any, **named: Any) -> Any:
            await there.wait()
            return await self._part.subscribe(*given, **named)

    async def owners() -> set[str | None]:
        return {row.owner for row in await world.store.read(lambda tx: tx.shards.all())}

    async with world.scheduler(broker=Slow(world.connect(), BrokerUnavailable)):
        async with asyncio.timeout(WITHIN_S):
            while await owners() != {"one"}:
                await asyncio.sleep(0.05)
        async with world.scheduler("two"):
            await asyncio.sleep(3)  # three leases
            assert await owners() == {"one"}
            there.set()
            async with asyncio.timeout(WITHIN_S):
                while await owners() != {"one", "two"}:
                    await asyncio.sleep(0.05)


async def test_a_fenced_scheduler_begins_again_and_writes_nothing_meanwhile(world: World) -> None:
    async with world.scheduler("one"):
        await world.work("a")
        rows = await world.store.read(lambda tx: tx.shards.all())
        await world.store.transact(lambda tx: tx.shards.take(tx.shards.all(), "thief"))
        await world.submit("b")
        await wait_for_owner(world, "one")  # the thief never beats: its lease runs out
        await world.accepted("b")
        await world.work("c")
        assert (
            min(row.epoch for row in await world.store.read(lambda tx: tx.shards.all()))
            > max(r.epoch for r in rows) + 1
        )


@pytest.mark.rabbitmq
@pytest.mark.postgresql
@pytest.mark.parametrize("world", [REAL], indirect=True)
async def test_a_killed_database_loses_nothing_accepted(world: World, postgresql: PostgreSQLServer) -> None:
    async with world.scheduler():
        await world.work("a")
        postgresql.kill()
        try:
            await world.submit("b")
        finally:
            postgresql.start()
        await world.accepted("b")
        await world.work("c")


async def test_what_was_learned_of_run_times_is_kept_when_a_scheduler_stops(world: World) -> None:
    async with world.scheduler():
        await world.work("one")
        assert await world.store.read(lambda tx: tx.run_times.of("w", 10)) == {}
    assert await world.store.read(lambda tx: tx.run_times.of("w", 10)) == {"a": SHORTEST_S}


async def test_a_large_outbox_is_sent_a_part_at_a_time_and_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engine, service):
        monkeypatch.setattr(module, "UNSENT_AT_ONCE", 10)
    left = [
        (number % SHARDS, Message(topology.EVENTS, "runs", Events.KIND, b'{"events": []}', f"left-{number}"))
        for number in range(35)
    ]
    await world.store.transact(lambda tx: tx.write(Changes(posted=left)))
    async with world.scheduler():
        sent: set[str] = set()
        async with asyncio.timeout(WITHIN_S):
            while len(sent) < len(left):
                deliveries = await world.events.take(100)
                await world.events.settle(deliveries)
                sent |= {delivery.message_id for delivery in deliveries} & {message.message_id for _, message in left}
        await world.work("a")


async def test_a_broker_that_takes_nothing_for_a_while_stops_the_ticks_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitter, "MAX_UNSENT", 1)
    broker = Cuttable(world.connect(), BrokerUnavailable, "publish")
    async with world.scheduler(broker=broker):
        await world.work("before")
        broker.cut = True
        await world.submit("during")
        async with asyncio.timeout(WITHIN_S):
            await broker.felt.wait()
        keys = [f"k{number}" for number in range(40)]
        for key in keys:
            await world.submit(key)
        await asyncio.sleep(0.5)  # time enough to tick, which it must not
        assert await world.known(keys) == 0
        broker.cut = False
        async with asyncio.timeout(WITHIN_S):
            while await world.known(keys) < len(keys):
                await asyncio.sleep(0.05)
        await world.submit("after")
        await world.accepted("after")
