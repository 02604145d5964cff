"""The elastic program over the in-process broker: whose turn it is, and what is done when a driver fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from random import Random

import pytest

from owner import LoopClock
from warrener.broker import Message
from warrener.brokers.memory import MemoryBroker
from warrener.brokers.memory_node import MemoryNode
from warrener.ids import new_token
from warrener.messages import AlertNote, Demand, Elastic, LaneDemand, decode, encode
from warrener.settings import Settings
from warrener.topology import ALERTS, CONTROL, control
from warrener_services.elastic import turn
from warrener_services.elastic.driver import Crew, DriverFailed
from warrener_services.elastic.rules import Pool, Processes, Rules
from warrener_services.elastic.service import ElasticService


class Hand:
    """A driver that keeps a number. `fails`: what is wrong with it."""

    exclusive_to = "jobs"

    def __init__(self) -> None:
        self.count = 0
        self.scaled = asyncio.Event()
        self.fails = ""
        self.may_look = asyncio.Event()
        self.may_look.set()

    async def look(self) -> Crew:
        await self.may_look.wait()
        return Crew(frozenset(str(number) for number in range(self.count)))

    async def scale(self, count: int, load: Mapping[str, int]) -> None:
        if self.fails:
            raise DriverFailed(self.fails)
        self.count = count
        self.scaled.set()


class Place:
    """A broker, with elastic programs on it, and a scheduler that says its demand."""

    def __init__(self, tmp_path: Path) -> None:
        self.node = MemoryNode()
        self.broker = MemoryBroker(self.node)
        self.rng = Random(1)
        self.settings = Settings(state=tmp_path, host="here")
        self._tasks: dict[str, tuple[asyncio.Task[None], MemoryBroker]] = {}

    def start(self, who: str, driver: Hand, *, every: str = "50ms") -> None:
        pool = Pool(serves=("job",), maximum=3, slots=1, processes=Processes())
        rules = Rules(every=every, pools={"jobs": pool})
        broker = MemoryBroker(self.node)
        service = ElasticService(
            rules, {"jobs": driver}, broker=broker, clock=LoopClock(), settings=self.settings, who=who,
            rng=Random(who),
        )  # fmt: skip
        self._tasks[who] = asyncio.create_task(service.run()), broker

    async def end(self, who: str) -> None:
        task, broker = self._tasks.pop(who)
        task.cancel()
        await asyncio.wait([task])
        await broker.close()

    async def demand(self, queued: int) -> None:
        lanes = {"job": LaneDemand(in_flight=0, ready=queued, queued=queued)} if queued else {}
        body = encode(Demand(scheduler="s", lanes=lanes))
        await self.broker.publish(
            Message(CONTROL, "demand", Demand.KIND, body, new_token(self.rng), durable=False, mandatory=False)
        )

    async def words(self, true: Callable[[Elastic], bool]) -> Elastic:
        """Wait for what a program says."""
        subscription = await self.broker.subscribe([control(f"test-{new_token(self.rng)}", "elastic")], prefetch=100)
        try:
            async with asyncio.timeout(20):
                while True:
                    deliveries = await subscription.take(100)
                    await subscription.settle(deliveries)
                    for delivery in deliveries:
                        word = decode(delivery.kind, delivery.body, Elastic)
                        if true(word):
                            return word
        finally:
            await subscription.close()

    async def close(self) -> None:
        for who in list(self._tasks):
            await self.end(who)
        await self.broker.close()


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(turn, "_AGAIN_S", 0.1)
    place = Place(tmp_path)
    try:
        yield place
    finally:
        await place.close()


async def test_one_acts_and_the_next_takes_over(place: Place) -> None:
    first, second = Hand(), Hand()
    place.start("a", first)
    await place.words(lambda word: word.acting)
    place.start("b", second)
    await place.demand(9)
    async with asyncio.timeout(10):
        await first.scaled.wait()
    assert (first.count, second.count) == (3, 0)
    await place.end("a")
    await place.words(lambda word: word.who == "b" and word.acting)
    await place.demand(9)  # schedulers say it again and again
    said = await place.words(lambda word: word.who == "b" and word.acting and bool(word.action))
    assert said.action.startswith("0 → 3: 9 queued")
    assert second.count == 3


async def test_a_pool_that_is_seldom_looked_at_keeps_its_turn(place: Place) -> None:
    driver = Hand()
    place.start("a", driver, every="1h")
    await place.words(lambda word: word.acting)
    await place.demand(9)
    async with asyncio.timeout(10):
        await driver.scaled.wait()


async def test_a_pool_whose_looks_take_long_keeps_its_turn(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "HEARD_S", 2.0)
    driver = Hand()
    driver.may_look.clear()
    place.start("a", driver)
    await place.words(lambda word: word.acting)
    first = asyncio.get_running_loop().time()
    await place.words(lambda word: word.acting and asyncio.get_running_loop().time() - first > turn.HEARD_S)
    await place.demand(9)
    driver.may_look.set()
    async with asyncio.timeout(10):
        await driver.scaled.wait()


async def test_trouble_with_a_driver_is_told_and_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warrener_services.elastic.service._AFTER_TROUBLE_S", 0.1)
    monkeypatch.setattr("warrener_services.elastic.service._WELL_AFTER_S", 0.1)
    alerts = await place.broker.subscribe([ALERTS], prefetch=10)

    async def next_alert() -> AlertNote:
        async with asyncio.timeout(20):
            (delivery,) = await alerts.take(1)
        await alerts.settle([delivery])
        return decode(delivery.kind, delivery.body, AlertNote)

    driver = Hand()
    driver.fails = "the pond is frozen"
    place.start("a", driver)
    await place.words(lambda word: word.acting)
    await place.demand(9)
    said = await place.words(lambda word: bool(word.trouble))
    assert (said.trouble, said.running, said.wanted) == ("the pond is frozen", 0, 3)
    alert = await next_alert()
    assert (alert.alert_kind, alert.subject, alert.text, alert.over) == (
        "workers-trouble", "jobs on here", "the pond is frozen", False,
    )  # fmt: skip
    driver.fails = ""
    assert (await next_alert()).over
    assert driver.count == 3
