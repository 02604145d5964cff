"""What the connection to RabbitMQ does when the broker is killed, frozen, away, or refuses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aio_pika
import pytest
from structlog.testing import capture_logs

from fleet.rabbitmq import RabbitMQNode
from warrener.broker import Delivery, Message, Subscription
from warrener.brokers import open_broker
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.errors import BrokerUnavailable, InvalidSettings, Unroutable
from warrener.topology import CONTROL, ORDERS, control, orders

pytestmark = pytest.mark.rabbitmq

JOBS = orders("job")
_numbers = itertools.count()

Connect = Callable[..., RabbitMQ]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[RabbitMQ] = []

    def connect(url: str, *, timeout_s: float = 2.0, heartbeat_s: int = 5) -> RabbitMQ:
        made.append(RabbitMQ.connect(url, name="test", timeout_s=timeout_s, heartbeat_s=heartbeat_s))
        return made[-1]

    yield connect
    for broker in made:
        await broker.close()


@pytest.fixture
def node(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    return rabbitmq


def order(text: str, key: str = "job", exchange: str = ORDERS) -> Message:
    return Message(exchange, key, "orders/1", text.encode(), f"m{next(_numbers)}")


async def take_until(subscription: Subscription, *wanted: str, within_s: float = 30) -> dict[str, Delivery]:
    """Take until all these texts were seen; return what was seen last of each text."""
    seen: dict[str, Delivery] = {}
    async with asyncio.timeout(within_s):
        while not seen.keys() >= set(wanted):
            for delivery in await subscription.take(100):
                seen[delivery.body.decode()] = delivery
    return seen


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.02)


async def publish_until_taken(broker: RabbitMQ, message: Message) -> None:
    async with asyncio.timeout(30):
        while True:
            with suppress(BrokerUnavailable):
                return await broker.publish(message)
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_killed_broker_is_used_again_when_it_is_back(node, amqp_url, connect):
    broker = connect(amqp_url)
    jobs = await broker.subscribe([JOBS], prefetch=2)
    wakes = await broker.subscribe([control("me", "wake")], prefetch=10)
    for text in "abc":
        await broker.publish(order(text))
    held = list((await take_until(jobs, "a", "b")).values())

    waiting = asyncio.create_task(take_until(wakes, "w", within_s=60))
    await asyncio.to_thread(node.kill)
    with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{node.port}") as caught:
        await broker.publish(order("lost"))
    assert "rabbits" not in str(caught.value)
    await jobs.settle(held)  # of a connection that is gone: does nothing
    await asyncio.to_thread(node.start)

    seen = await take_until(jobs, "a", "b")
    assert all(seen[text].redelivered for text in "ab")
    await jobs.settle(held)
    await jobs.settle(seen.values())
    await take_until(jobs, "c")  # marked redelivered too: after a crash the broker does not know better
    await publish_until_taken(broker, order("w", key="wake", exchange=CONTROL))  # the exclusive queue is there anew
    await waiting
    await until(broker.ready)


@pytest.mark.slow
async def test_what_was_confirmed_survives_a_kill_and_the_rest_is_told(node, amqp_url, connect):
    broker = connect(amqp_url)
    await broker.declare([JOBS])
    confirmed: list[str] = []
    errors: list[BaseException] = []
    enough = asyncio.Event()

    async def keep_publishing(name: str) -> None:
        for number in itertools.count():
            try:
                await broker.publish(order(f"{name}.{number}"))
            except BrokerUnavailable as error:
                errors.append(error)
                return
            confirmed.append(f"{name}.{number}")
            if len(confirmed) >= 500:
                enough.set()

    async with asyncio.TaskGroup() as publishers:
        for name in range(50):
            publishers.create_task(keep_publishing(str(name)))
        await enough.wait()
        await asyncio.to_thread(node.kill)
    assert len(errors) == 50

    await asyncio.to_thread(node.start)
    subscription = await broker.subscribe([JOBS], prefetch=10_000)
    await take_until(subscription, *confirmed)


@pytest.mark.slow
async def test_a_frozen_broker_is_noticed_and_used_again_when_it_thaws(node, amqp_url, connect):
    broker = connect(amqp_url, heartbeat_s=1)
    jobs = await broker.subscribe([JOBS], prefetch=10)
    await broker.publish(order("a"))
    await jobs.take(1)
    node.pause()
    try:
        with pytest.raises(BrokerUnavailable, match="no answer in time"):
            await broker.publish(order("b"))

        async def noticed() -> bool:  # by both of its connections, each for itself
            return not (broker._publishing.up or broker._consuming.up)

        await until(noticed)
    finally:
        node.unpause()
    await until(broker.ready)
    await broker.publish(order("c"))
    seen = await take_until(jobs, "a", "c")
    assert seen["a"].redelivered


@pytest.mark.slow
async def test_a_broker_that_is_away_at_the_start_is_waited_for_and_told_once(node, amqp_url, connect):
    await asyncio.to_thread(node.kill)
    try:
        with capture_logs() as logs:
            broker = connect(amqp_url, timeout_s=1.0)
            with pytest.raises(BrokerUnavailable, match=rf"no connection to the broker at 127.0.0.1:{node.port}"):
                await broker.declare([JOBS])
            subscription = await broker.subscribe([JOBS], prefetch=10)
            assert not await broker.ready()
    finally:
        await asyncio.to_thread(node.start)
    told = [line for line in logs if line["event"] == "broker is away, retrying"]
    assert sorted(line["connection"] for line in told) == ["test consume", "test publish"]
    assert told[0]["broker"] == f"127.0.0.1:{node.port}"
    assert "rabbits" not in str(logs)
    await publish_until_taken(broker, order("a"))
    await take_until(subscription, "a")


async def test_a_queue_that_was_deleted_is_declared_and_consumed_again(amqp_url, connect):
    broker = connect(amqp_url)
    subscription = await broker.subscribe([JOBS], prefetch=10)
    async with await aio_pika.connect(amqp_url) as other, other.channel() as channel:
        await channel.queue_delete(JOBS.name)
    await publish_until_taken(broker, order("a"))
    await take_until(subscription, "a")


async def test_an_exchange_that_was_deleted_is_declared_again(amqp_url, connect):
    broker = connect(amqp_url)
    await broker.declare([JOBS])
    async with await aio_pika.connect(amqp_url) as other, other.channel() as channel:
        await channel.exchange_delete(ORDERS)
    with pytest.raises(BrokerUnavailable, match=ORDERS) as caught:
        await broker.publish(order("a"))
    assert not isinstance(caught.value, Unroutable)

    async def routes_again() -> bool:
        with suppress(BrokerUnavailable):
            await broker.declare([JOBS])
            await broker.publish(order("b"))
            return True
        return False

    await until(routes_again)


async def test_a_subscription_whose_queue_changed_under_it_says_so_and_goes_on_later(amqp_url, connect):
    broker = connect(amqp_url)
    subscription = await broker.subscribe([JOBS], prefetch=10)
    async with await aio_pika.connect(amqp_url) as other, other.channel() as channel:
        with capture_logs() as logs:
            await channel.queue_delete(JOBS.name)
            await channel.declare_queue(JOBS.name, durable=True)

            async def told() -> bool:
                return any("exists with other arguments" in str(line.get("why")) for line in logs)

            with suppress(TimeoutError):  # it may have been quicker than this test and have its queue
                await until(told, within_s=3)
        await channel.queue_delete(JOBS.name)
    await publish_until_taken(broker, order("a"))
    await take_until(subscription, "a")


async def test_a_wrong_password_is_told_without_the_password(amqp_url, connect):
    broker = connect(amqp_url.replace("rabbits", "hares"), timeout_s=1.0)
    for call in (broker.publish(order("a")), broker.declare([JOBS])):
        with pytest.raises(
            BrokerUnavailable, match="refused the user or the password; check WARRENER_BROKER"
        ) as caught:
            await call
        assert "hares" not in str(caught.value)
    assert not await broker.ready()


async def test_a_wrong_virtual_host_is_told(node, connect):
    broker = connect(node.url + "burrow", timeout_s=1.0)
    with pytest.raises(BrokerUnavailable, match="refused the virtual host"):
        await broker.publish(order("a"))


async def test_a_broker_is_chosen_by_its_url(amqp_url):
    broker = open_broker(amqp_url, name="test")
    assert isinstance(broker, RabbitMQ)
    await broker.close()
    with pytest.raises(InvalidSettings, match="WARRENER_BROKER") as caught:
        open_broker("redis://user:secret@host", name="test")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost", "amqp://", "amqp:///vhost"])
def test_a_url_that_is_no_brokers_is_refused(url):
    with pytest.raises(InvalidSettings, match="WARRENER_BROKER"):
        open_broker(url, name="test")


async def test_in_process_brokers_of_one_url_are_one():
    here, there = open_broker("memory://", name="here"), open_broker("memory://", name="there")
    subscription = await here.subscribe([JOBS], prefetch=1)
    await there.publish(order("a"))
    assert len(await subscription.take(1)) == 1


async def test_a_connection_can_be_closed_at_any_moment_of_its_making(node: RabbitMQNode, amqp_url: str) -> None:
    for number in range(60):
        broker = RabbitMQ.connect(amqp_url, name="test")
        subscribing = asyncio.create_task(broker.subscribe([JOBS], prefetch=1))
        await asyncio.sleep(number * 0.0007)
        async with asyncio.timeout(20):
            await broker.close()
        subscribing.cancel()
        await asyncio.wait([subscribing])
        if not subscribing.cancelled():
            subscribing.exception()
