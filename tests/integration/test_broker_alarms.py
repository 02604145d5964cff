"""What happens when the broker runs out of memory or disk, and when it has room again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fleet.rabbitmq import RabbitMQNode
from fleet.stack import Fleet
from warrener.async_client import AsyncClient, AsyncRun
from warrener.broker import Message, Subscription
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.errors import BrokerBlocked, GatewayUnavailable
from warrener.topology import ORDERS, orders

pytestmark = pytest.mark.rabbitmq

JOBS = orders("job")
WORKFLOW = {
    "workflow": "w",
    "params": {"code": 0},
    "tasks": {"t": {"job": {"shell": "exit $CODE", "env": {"CODE": "{{ params.code }}"}}}},
}
MEMORY = ("set_vm_memory_high_watermark", "0.00001", "0.4")
DISK = ("set_disk_free_limit", "1000GB", "50MB")
_numbers = itertools.count()

Connect = Callable[[str], RabbitMQ]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[RabbitMQ] = []

    def connect(url: str) -> RabbitMQ:
        made.append(RabbitMQ.connect(url, name="test", timeout_s=1.0))
        return made[-1]

    yield connect
    async with asyncio.timeout(10):
        for broker in made:
            await broker.close()


@asynccontextmanager
async def alarm(node: RabbitMQNode, what: tuple[str, str, str] = MEMORY) -> AsyncIterator[Callable[[], None]]:
    """Raise an alarm; it ends with the context, or when the function that is lent is called."""
    command, too_low, usual = what
    await asyncio.to_thread(node.ctl, command, too_low)
    try:
        yield lambda: node.ctl(command, usual)
    finally:
        await asyncio.to_thread(node.ctl, command, usual)


def order(text: str) -> Message:
    return Message(ORDERS, "job", "orders/1", text.encode(), f"m{next(_numbers)}")


async def take_until(subscription: Subscription, *wanted: str) -> list[str]:
    """Take and settle until all these texts were seen; return all that was seen."""
    seen: list[str] = []
    async with asyncio.timeout(10):
        while not set(wanted) <= set(seen):
            deliveries = await subscription.take(100)
            seen += [delivery.body.decode() for delivery in deliveries]
            await subscription.settle(deliveries)
    return seen


@pytest.mark.parametrize(("what", "name"), [(MEMORY, "memory alarm"), (DISK, "disk alarm")], ids=["memory", "disk"])
async def test_during_an_alarm_publishers_are_told_the_reason_and_consumers_go_on(
    rabbitmq: RabbitMQNode, amqp_url: str, connect: Connect, what: tuple[str, str, str], name: str
) -> None:
    broker = connect(amqp_url)
    jobs = await broker.subscribe([JOBS], prefetch=1)
    await broker.publish(order("before"))
    await broker.publish(order("waits in its queue"))
    async with alarm(rabbitmq, what):
        with pytest.raises(BrokerBlocked, match=rf"orders/1.*is blocked: {name} \(low on"):
            await broker.publish(order("on its way when the alarm began"))
        assert not await broker.ready()
        assert f"is blocked: {name}" in broker.trouble()
        async with asyncio.timeout(5):
            await take_until(jobs, "before", "waits in its queue")
    await broker.publish(order("after"))
    assert await broker.ready()
    assert not broker.trouble()
    await take_until(jobs, "after")


async def test_what_is_tried_again_and_again_during_an_alarm_does_not_pile_up(
    rabbitmq: RabbitMQNode, amqp_url: str, connect: Connect
) -> None:
    broker = connect(amqp_url)
    jobs = await broker.subscribe([JOBS], prefetch=1000)
    async with alarm(rabbitmq):
        with pytest.raises(BrokerBlocked):
            await broker.publish(order("first"))
        tries = [asyncio.create_task(broker.publish(order(f"try {number}"))) for number in range(500)]
        answers = await asyncio.gather(*tries, return_exceptions=True)
        assert all(isinstance(answer, BrokerBlocked) for answer in answers)
    await broker.publish(order("last"))
    # The first was in the connection when the alarm came; of the 500 others nothing was.
    assert set(await take_until(jobs, "last")) <= {"first", "last"}


async def test_a_publish_that_waits_is_done_when_the_alarm_ends_in_time(
    rabbitmq: RabbitMQNode, amqp_url: str, connect: Connect
) -> None:
    broker = RabbitMQ.connect(amqp_url, name="patient", timeout_s=15.0)
    try:
        jobs = await broker.subscribe([JOBS], prefetch=10)
        async with alarm(rabbitmq) as end:
            publishing = [asyncio.create_task(broker.publish(order(text))) for text in "abc"]
            await asyncio.to_thread(end)
            async with asyncio.timeout(10):
                await asyncio.gather(*publishing)
        assert sorted(await take_until(jobs, *"abc")) == ["a", "b", "c"]
    finally:
        await broker.close()


async def test_a_program_can_connect_and_stop_during_an_alarm(
    rabbitmq: RabbitMQNode, amqp_url: str, connect: Connect
) -> None:
    async with alarm(rabbitmq):
        broker = connect(amqp_url)
        await broker.declare([JOBS])
        with pytest.raises(BrokerBlocked):
            await broker.publish(order("a"))
        async with asyncio.timeout(8):
            await broker.close()


# ── a whole fleet ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_fleet_outlives_an_alarm_and_loses_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, database="sqlite", settings={"WARRENER_ORDER_TIMEOUT": "5s"})
    await asyncio.to_thread(fleet.__enter__)
    try:
        fleet.start("scheduler", "gateway", "job_submission")
        async with asyncio.timeout(60), AsyncClient(f"unix:{fleet.state}/gateway.sock", token="") as client:
            first = await _when_up(client)
            await first.wait(30)
            async with alarm(fleet.rabbitmq):
                during = [await client.submit(WORKFLOW, {"code": number % 2}) for number in range(10)]
                health = await client.health()
                assert (health.store, health.broker) == (True, False)
                assert "is blocked: memory alarm (low on memory)" in health.broker_trouble
                assert (await during[0].status()).state != "succeeded"
                while "the broker is blocked" not in fleet.log_of("scheduler"):  # once it has something to send
                    await asyncio.sleep(0.05)
            ends = [(await run.wait(30)).state for run in during]
            assert ends == ["succeeded", "failed"] * 5
            assert (await client.health()).broker
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)


async def _when_up(client: AsyncClient) -> AsyncRun:
    while True:
        with suppress(GatewayUnavailable):
            return await client.submit(WORKFLOW)
        await asyncio.sleep(0.1)
