"""The program `gossip` as it is started: from settings to messages on a real broker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from fleet.serf import SerfAgent
from warrener.broker import Broker, Message, Subscription
from warrener.brokers import open_broker
from warrener.brokers.memory import MemoryBroker
from warrener.errors import InvalidSettings, Unroutable
from warrener.messages import Members, RollCall, decode, encode
from warrener.settings import Settings
from warrener.topology import CONTROL, control
from warrener_services.gossip.__main__ import run


@asynccontextmanager
async def running(settings: Settings, **parts: object):
    program = asyncio.create_task(run(settings, **parts))
    try:
        yield program
    finally:
        program.cancel()
        await asyncio.wait([program])


async def full_picture(ear: Subscription) -> list[str]:
    async with asyncio.timeout(30):
        while True:
            (delivery,) = await ear.take(1)
            await ear.settle([delivery])
            message = decode(delivery.kind, delivery.body, Members)
            if message.full:
                return [member.name for member in message.members]


async def call_the_roll(broker: Broker) -> None:
    """Call as soon as somebody listens."""
    call = Message(CONTROL, "rollcall", RollCall.KIND, encode(RollCall()), "m1", durable=False)
    async with asyncio.timeout(10):
        while True:
            try:
                return await broker.publish(call)
            except Unroutable:
                await asyncio.sleep(0.02)


@pytest.mark.rabbitmq
@pytest.mark.serf
async def test_gossip_reaches_schedulers_over_rabbitmq_and_roll_calls_are_answered(amqp_url, serf_agent: SerfAgent):
    async with AsyncExitStack() as stack:
        broker = open_broker(amqp_url, name="scheduler-1")
        stack.push_async_callback(broker.close)
        ear = await broker.subscribe([control("scheduler-1", "member")], prefetch=10)
        stack.push_async_callback(ear.close)
        settings = Settings.read(broker=amqp_url, gossip=serf_agent.rpc_url)
        program = await stack.enter_async_context(running(settings))
        assert await full_picture(ear) == [serf_agent.name]
        await call_the_roll(broker)
        called_at = asyncio.get_running_loop().time()
        assert await full_picture(ear) == [serf_agent.name]
        assert asyncio.get_running_loop().time() - called_at < 5  # well before the next one is due
        assert not program.done()


@pytest.mark.rabbitmq
@pytest.mark.slow
async def test_a_broker_that_is_killed_and_started_again_gets_gossip_and_calls_again(rabbitmq, amqp_url):
    async with AsyncExitStack() as stack:
        broker = open_broker(amqp_url, name="scheduler-1")
        stack.push_async_callback(broker.close)
        ear = await broker.subscribe([control("scheduler-1", "member")], prefetch=10)
        stack.push_async_callback(ear.close)
        settings = Settings.read(broker=amqp_url, gossip="static://")
        program = await stack.enter_async_context(running(settings))
        await full_picture(ear)
        await asyncio.to_thread(rabbitmq.kill)
        await asyncio.to_thread(rabbitmq.start)
        await full_picture(ear)
        await call_the_roll(open_again := open_broker(amqp_url, name="scheduler-2"))
        await open_again.close()
        await full_picture(ear)
        assert not program.done()


async def test_without_agents_an_empty_picture_is_published_and_the_lent_broker_stays_open():
    broker = MemoryBroker()
    ear = await broker.subscribe([control("scheduler-1", "member")], prefetch=10)
    async with running(Settings.read(gossip="static://"), broker=broker):
        assert await full_picture(ear) == []
    assert await broker.ready()
    await broker.close()


async def test_a_gossip_that_does_not_exist_ends_the_program_with_the_setting_named():
    with pytest.raises(InvalidSettings, match="WARRENER_GOSSIP"):
        await run(Settings.read(gossip="consul://host:8500"))
