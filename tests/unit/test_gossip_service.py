"""The program `gossip` on an in-process broker: what it publishes, and when; what it does when something is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random

import pytest
from structlog.testing import capture_logs

from warrener.broker import MAX_BODY_BYTES, Message, Queue
from warrener.brokers.memory import MemoryBroker
from warrener.errors import BrokerUnavailable, GossipUnavailable
from warrener.gossip import Change, Member, Status
from warrener.messages import Members, RollCall, decode, encode
from warrener.topology import CONTROL, control
from warrener_services.gossip.absence import Absence
from warrener_services.gossip.bulletin import Bulletin, Edition
from warrener_services.gossip.ear import NoEar
from warrener_services.gossip.handlers import bodies_of
from warrener_services.gossip.service import GossipService

A, B = Member("a", Status.ALIVE, "10.0.0.1:7946"), Member("b", Status.ALIVE, "10.0.0.2:7946", {"free": "1"})
B_FAILED = Member("b", Status.FAILED, "10.0.0.2:7946", {"free": "1"})


class ScriptedGossip:
    """Gossip that says what a test puts in; an exception is raised from `changes`."""

    def __init__(self) -> None:
        self.script: asyncio.Queue[Change | Exception] = asyncio.Queue()
        self.begun = 0

    async def changes(self) -> AsyncIterator[Change]:
        self.begun += 1
        while True:
            step = await self.script.get()
            if isinstance(step, Exception):
                raise step
            yield step

    async def members(self) -> Sequence[Member]:
        return ()

    async def own_name(self) -> str | None:
        return None

    async def tell(self, tags: Mapping[str, str | None]) -> None:
        return

    async def close(self) -> None:
        return


class FlakyBroker(MemoryBroker):
    """A broker that is away as often as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse_publishing = 0
        self.refuse_subscribing = 0
        self.refused = asyncio.Semaphore(0)

    async def publish(self, message: Message) -> None:
        if self.refuse_publishing and message.kind == Members.KIND:
            self.refuse_publishing -= 1
            self.refused.release()
            raise BrokerUnavailable("no confirm")
        await super().publish(message)

    async def subscribe(self, queues: Sequence[Queue], *, prefetch: int, lost: object = None):
        if self.refuse_subscribing and queues[0].name == "control.gossip-1":
            self.refuse_subscribing -= 1
            self.refused.release()
            raise BrokerUnavailable("no connection")
        return await super().subscribe(queues, prefetch=prefetch)


class Listening(NoEar):
    """Remembers what it hears of parts."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def away(self, part: str, reason: str) -> None:
        self.heard.append("away")

    def back(self, part: str) -> None:
        self.heard.append("back")


@dataclass
class World:
    """A running service, and a scheduler's ear."""

    gossip: ScriptedGossip = field(default_factory=ScriptedGossip)
    broker: FlakyBroker = field(default_factory=FlakyBroker)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        self.ear = await self.broker.subscribe([control("scheduler-1", "member")], prefetch=1000)
        service = GossipService(
            gossip=self.gossip, broker=self.broker, who="gossip-1", rng=Random(1), first_pause_s=0.001
        )
        running = asyncio.create_task(service.run())
        try:
            yield self
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await self.broker.close()

    def says(self, *members: Member, full: bool = False) -> None:
        self.gossip.script.put_nowait(Change(members, full=full))

    async def heard(self) -> Members:
        async with asyncio.timeout(10):
            (delivery,) = await self.ear.take(1)
        await self.ear.settle([delivery])
        return decode(delivery.kind, delivery.body, Members)

    async def call(self) -> None:
        body = encode(RollCall())
        await self.broker.publish(Message(CONTROL, "rollcall", RollCall.KIND, body, "m1", mandatory=False))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as world:
        yield world


def names(message: Members) -> dict[str, str]:
    return {member.name: member.status for member in message.members}


async def test_a_full_picture_is_published_as_one(world):
    world.says(A, B, full=True)
    message = await world.heard()
    assert message.full
    assert [member.model_dump() for member in message.members] == [
        {"name": "a", "status": "alive", "address": "10.0.0.1:7946", "tags": {}},
        {"name": "b", "status": "alive", "address": "10.0.0.2:7946", "tags": {"free": "1"}},
    ]


async def test_a_change_is_published_at_once_and_alone(world):
    world.says(A, B, full=True)
    await world.heard()
    world.says(B_FAILED)
    message = await world.heard()
    assert not message.full
    assert names(message) == {"b": "failed"}


async def test_what_is_no_news_is_not_published(world):
    world.says(A, B, full=True)
    await world.heard()
    world.says(A)
    world.says(B_FAILED)
    assert names(await world.heard()) == {"b": "failed"}


async def test_each_full_picture_is_published_although_nothing_changed(world):
    world.says(A, full=True)
    first = await world.heard()
    world.says(A, full=True)
    assert await world.heard() == first


async def test_a_roll_call_is_answered_with_the_full_picture(world):
    world.says(A, B, full=True)
    await world.heard()
    world.says(B_FAILED)
    await world.heard()
    await world.call()
    message = await world.heard()
    assert message.full
    assert names(message) == {"a": "alive", "b": "failed"}


async def test_changes_are_hints_that_need_no_reader_and_no_disk(world):
    world.says(A, full=True)
    (delivery,) = await world.ear.take(1)
    assert (delivery.exchange, delivery.routing_key) == (CONTROL, "member")
    await world.ear.close()
    world.says(A, full=True)  # nobody listens: nothing is returned, nothing raised
    world.ear = await world.broker.subscribe([control("scheduler-2", "member")], prefetch=10)
    world.says(B_FAILED)
    while names(await world.heard()).get("b") != "failed":
        pass


async def test_gossip_that_is_away_is_said_once_and_tried_again():
    with capture_logs() as logs:
        async with World().running() as world:
            for _ in range(4):
                world.gossip.script.put_nowait(GossipUnavailable("the agent cannot be reached"))
            world.says(A, full=True)
            assert names(await world.heard()) == {"a": "alive"}
            assert world.gossip.begun == 5
    about = [line for line in logs if line.get("part") == "gossip"]
    assert [line["log_level"] for line in about] == ["warning", "info"]
    assert about[0]["reason"] == "the agent cannot be reached"


async def test_a_roll_call_while_gossip_is_away_is_not_answered_with_an_old_picture(world):
    world.says(A, B, full=True)
    await world.heard()
    world.gossip.script.put_nowait(GossipUnavailable("gone"))
    while world.gossip.begun < 2:
        await asyncio.sleep(0.001)
    await world.call()
    (calls,) = world.broker.node.route(CONTROL, "rollcall")
    while len(calls):
        await asyncio.sleep(0)
    world.says(A, full=True)
    assert names(await world.heard()) == {"a": "alive"}


async def test_what_happened_while_gossip_was_away_is_logged(world):
    world.says(A, B, full=True)
    await world.heard()
    with capture_logs() as logs:
        world.gossip.script.put_nowait(GossipUnavailable("gone"))
        world.says(A, B_FAILED, full=True)
        await world.heard()
    assert [(line["member"], line["news"]) for line in logs if "news" in line] == [("b", "failed")]


async def test_a_broker_that_is_away_is_said_once_and_gets_the_full_picture_when_it_is_back():
    with capture_logs() as logs:
        async with World().running() as world:
            world.says(A, B, full=True)
            await world.heard()
            world.broker.refuse_publishing = 3
            world.says(B_FAILED)
            message = await world.heard()
            assert message.full
            assert names(message) == {"a": "alive", "b": "failed"}
            world.says(B)
            await world.heard()  # by now the return was logged
    about = [line for line in logs if line.get("part") == "broker"]
    assert [line["log_level"] for line in about] == ["warning", "info"]


async def test_a_broker_that_came_back_while_gossip_was_away_is_not_missed_for_ever():
    with capture_logs() as logs:
        async with World().running() as world:
            world.says(A, B, full=True)
            await world.heard()
            world.broker.refuse_publishing = 1_000_000
            world.says(B_FAILED)
            await world.broker.refused.acquire()
            world.gossip.script.put_nowait(GossipUnavailable("gone"))  # from now on there is nothing to publish
            while len([line for line in logs if line.get("part") == "broker"]) < 2:
                await asyncio.sleep(0)
            while world.gossip.begun < 2:
                await asyncio.sleep(0)
    assert [line["log_level"] for line in logs if line.get("part") == "broker"] == ["warning", "info"]


def test_a_part_is_back_when_nobody_misses_it_who_still_has_to_do_with_it():
    absence = Absence("broker", ear := Listening())
    absence.excused("publishing")  # it was never met
    assert ear.heard == []
    absence.noticed("publishing", BrokerUnavailable("x"))
    absence.noticed("listening", BrokerUnavailable("x"))
    absence.excused("publishing")
    assert ear.heard == ["away", "away"]
    absence.over("listening")
    assert ear.heard == ["away", "away", "back"]


async def test_a_broker_that_is_away_at_start_is_tried_again():
    world = World()
    world.broker.refuse_subscribing = 3
    async with world.running():
        for _ in range(3):
            await world.broker.refused.acquire()
        world.says(A, full=True)
        await world.heard()
        while not world.broker.node.route(CONTROL, "rollcall"):
            await asyncio.sleep(0)
        await world.call()
        assert (await world.heard()).full


async def test_news_add_up_while_the_broker_is_slow():
    bulletin = Bulletin()
    bulletin.hear(Change([A, B], full=True))
    assert await bulletin.next() == Edition((A, B), full=True)
    bulletin.hear(Change([B_FAILED], full=False))
    bulletin.hear(Change([A], full=False))
    bulletin.hear(Change([B], full=False))
    assert await bulletin.next() == Edition((B,), full=False)


async def test_an_old_picture_does_not_pass_for_a_new_one():
    bulletin = Bulletin()
    bulletin.hear(Change([A], full=True))
    bulletin.lose_sight()
    bulletin.ask_full()
    waiting = asyncio.ensure_future(bulletin.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    bulletin.hear(Change([A, B], full=True))
    assert await waiting == Edition((A, B), full=True)


def test_a_picture_too_large_for_one_message_travels_in_several_that_do_not_claim_to_be_full():
    members = [Member(f"m{n}", Status.ALIVE, "", {"note": "x" * 480}) for n in range(3000)]
    bodies = list(bodies_of(Edition(members, full=True)))
    read = [decode(Members.KIND, body, Members) for body in bodies]
    assert len(bodies) > 1
    assert max(map(len, bodies)) <= MAX_BODY_BYTES
    assert not any(message.full for message in read)
    assert [seen.name for message in read for seen in message.members] == [m.name for m in members]
