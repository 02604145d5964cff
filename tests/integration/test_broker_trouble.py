"""What a connection, and a whole fleet, do when the network is cut in part, queues vanish, or the broker is wiped."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aio_pika
import pytest
from structlog.testing import capture_logs

from fleet.proxy import Proxy
from fleet.rabbitmq import RabbitMQNode
from fleet.stack import Fleet
from warrener.async_client import AsyncClient, AsyncRun
from warrener.broker import Message, Subscription
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.errors import BrokerUnavailable, GatewayUnavailable
from warrener.topology import ORDERS, orders
from warrener.views import RunAsked

pytestmark = pytest.mark.rabbitmq

JOBS = orders("job")
_numbers = itertools.count()

AGAIN_S = 30.0
"""15 s on a quiet machine; those that run tests seldom are."""


def order(text: str) -> Message:
    return Message(ORDERS, "job", "orders/1", text.encode(), f"m{next(_numbers)}")


async def take_until(subscription: Subscription, *wanted: str, within_s: float = 30) -> None:
    seen: set[str] = set()
    async with asyncio.timeout(within_s):
        while not seen >= set(wanted):
            deliveries = await subscription.take(100)
            seen.update(delivery.body.decode() for delivery in deliveries)
            await subscription.settle(deliveries)


async def publish_until_taken(broker: RabbitMQ, text: str, within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while True:
            with suppress(BrokerUnavailable):
                return await broker.publish(order(text))
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 30) -> float:
    """Wait until it is so; return how many seconds that took."""
    began_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.05)
    return time.monotonic() - began_s


@pytest.fixture
async def proxy(rabbitmq: RabbitMQNode) -> AsyncIterator[Proxy]:
    async with Proxy(rabbitmq.port) as made:
        yield made


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RabbitMQ]:
    broker = RabbitMQ.connect(url, name="test")
    try:
        yield broker
    finally:
        await broker.close()


def through(proxy: Proxy, rabbitmq: RabbitMQNode, url: str) -> str:
    return url.replace(f":{rabbitmq.port}/", f":{proxy.port}/")


# ── one connection ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("directions", [("out", "back"), ("out",), ("back",)], ids=["both", "out", "back"])
async def test_a_silent_cut_is_noticed_within_20_s_and_healed_within_10(rabbitmq, amqp_url, proxy, directions):
    async with connected(through(proxy, rabbitmq, amqp_url)) as broker:
        jobs = await broker.subscribe([JOBS], prefetch=10)
        await broker.publish(order("before"))
        await take_until(jobs, "before")
        proxy.cut(*directions)

        async def noticed() -> bool:
            return bool(broker.trouble())

        assert await until(noticed) < 20
        proxy.heal()
        began_s = time.monotonic()
        await publish_until_taken(broker, "after")
        await take_until(jobs, "after")
        assert time.monotonic() - began_s < 10


async def test_connections_that_are_reset_again_and_again_always_consume_again(rabbitmq, amqp_url, proxy):
    """A hundred cuts at any moment of connecting: never is a subscription left without its consumer."""
    async with connected(through(proxy, rabbitmq, amqp_url)) as broker, connected(amqp_url) as direct:
        jobs = await broker.subscribe([JOBS], prefetch=10)
        for number in range(100):
            await asyncio.sleep(number % 10 * 0.005)  # from at once to long after the connection is made
            proxy.reset()
            if number % 10 == 9:
                await direct.publish(order(f"after {number}"))
                await take_until(jobs, f"after {number}", within_s=15)


async def test_a_slow_network_is_no_outage(rabbitmq, amqp_url, proxy):
    async with connected(through(proxy, rabbitmq, amqp_url)) as broker:
        jobs = await broker.subscribe([JOBS], prefetch=10)
        proxy.delay_s = 0.3
        with capture_logs() as logs:
            await asyncio.gather(*(broker.publish(order(text)) for text in "abc"))
            await take_until(jobs, *"abc")
        assert logs == []


async def test_who_consumes_hears_of_a_queue_that_is_deleted_under_it(amqp_url):
    lost: list[str] = []
    async with connected(amqp_url) as broker:
        await broker.declare([JOBS])
        jobs = await broker.subscribe([JOBS], prefetch=10, lost=lost.append)
        assert lost == []
        async with await aio_pika.connect(amqp_url) as other, other.channel() as channel:
            await channel.queue_delete(JOBS.name)
        await publish_until_taken(broker, "again")
        await take_until(jobs, "again")
        assert JOBS.name in lost


async def test_who_consumes_hears_of_a_queue_that_was_not_there(amqp_url):
    lost: list[str] = []
    async with connected(amqp_url) as broker:
        await broker.subscribe([JOBS, orders("env")], prefetch=10, lost=lost.append)
        assert lost == ["orders.job", "orders.env"]


async def test_a_queue_with_other_arguments_is_named_and_used_again_when_it_is_put_right(amqp_url):
    async with connected(amqp_url) as broker:
        async with await aio_pika.connect(amqp_url) as other, other.channel() as channel:
            await channel.declare_queue(JOBS.name, durable=True, arguments={"x-max-priority": 3})
        with pytest.raises(BrokerUnavailable, match=r"orders\.job exists with other arguments.*x-max-priority"):
            await broker.subscribe([JOBS], prefetch=10)
        async with await aio_pika.connect(amqp_url) as other, other.channel() as channel:
            await channel.queue_delete(JOBS.name)
        jobs = await broker.subscribe([JOBS], prefetch=10)
        await broker.publish(order("right"))
        await take_until(jobs, "right")


# ── a whole fleet ───────────────────────────────────────────────────────────────────────────────────────────────

APP = """
import asyncio
from warrener import Worker
worker = Worker("calls")
@worker.function
async def nap(seconds: float = 0.0) -> float:
    await asyncio.sleep(seconds)
    return seconds
worker.run()
"""
CALL = {
    "workflow": "naps",
    "params": {"seconds": 0},
    "tasks": {"nap": {"call": {"function": "calls.nap", "args": {"seconds": "{{ params.seconds }}"}}}},
}
JOB = {"workflow": "jobs", "tasks": {"true": {"job": {"argv": ["true"]}}}}


@asynccontextmanager
async def fleet_of_one(folder: Path, *, slots: int = 50) -> AsyncIterator[tuple[Fleet, AsyncClient]]:
    """Run a fleet with a worker of calls."""
    fleet = Fleet(folder, database="sqlite")
    await asyncio.to_thread(fleet.__enter__)
    try:
        (folder / "calls.py").write_text(APP)
        fleet.start("scheduler", "gateway")
        fleet.run("calls", [sys.executable, str(folder / "calls.py")], WARRENER_SLOTS=str(slots))
        async with AsyncClient(f"unix:{fleet.state}/gateway.sock", token="") as client:
            await (await submitted(client)).wait(60)
            yield fleet, client
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)


async def submitted(client: AsyncClient, workflow: dict[str, object] = CALL) -> AsyncRun:
    async with asyncio.timeout(60):
        while True:
            with suppress(GatewayUnavailable):
                return await client.submit(workflow)
            await asyncio.sleep(0.1)


async def flow_again_s(client: AsyncClient) -> float:
    """Return how long a new run takes from now to its end."""
    began_s = time.monotonic()
    assert (await (await submitted(client)).wait(60)).state == "succeeded"
    return time.monotonic() - began_s


async def all_succeed(runs: list[AsyncRun], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        for run in runs:
            assert (await run.wait(within_s)).state == "succeeded"


async def submit_many(client: AsyncClient, count: int) -> list[AsyncRun]:
    return list(await client.submit_many(CALL, [RunAsked(key=f"r{next(_numbers)}") for _ in range(count)]))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_fleet_flows_again_after_its_broker_was_killed_stopped_or_frozen(tmp_path: Path) -> None:
    async with fleet_of_one(tmp_path) as (fleet, client):
        node = fleet.rabbitmq
        for trouble in ("killed", "stopped", "frozen"):
            if trouble == "frozen":
                node.pause()
            else:
                await asyncio.to_thread(node.kill if trouble == "killed" else node.stop)
            during = await submit_many(client, 100)
            if trouble == "frozen":
                await asyncio.sleep(26)
                node.unpause()
            else:
                await asyncio.to_thread(node.start)
            took_s = await flow_again_s(client)
            print(f"{trouble}: flow again after {took_s:.1f} s")  # noqa: T201
            assert took_s < AGAIN_S
            await all_succeed(during, 30)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_fleet_outlives_a_broker_that_comes_back_empty(tmp_path: Path) -> None:
    async with fleet_of_one(tmp_path, slots=4) as (fleet, client):
        before = await submit_many(client, 100)
        await asyncio.to_thread(fleet.rabbitmq.kill)
        shutil.rmtree(fleet.rabbitmq.folder / "data")
        await asyncio.to_thread(fleet.rabbitmq.start)
        took_s = await flow_again_s(client)
        print(f"wiped: flow again after {took_s:.1f} s")  # noqa: T201
        assert took_s < AGAIN_S
        await all_succeed(before, 50)  # an order's time-out is 60 s


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_worker_that_is_cut_off_alone_is_used_again_when_the_cut_is_healed(tmp_path: Path) -> None:
    async with fleet_of_one(tmp_path) as (fleet, client), Proxy(fleet.rabbitmq.port) as proxy:
        url = fleet.rabbitmq.url.replace(f":{fleet.rabbitmq.port}/", f":{proxy.port}/")
        fleet.run("job_submission", [sys.executable, "-m", "warrener_services.job_submission"], WARRENER_BROKER=url)
        await (await submitted(client, JOB)).wait(60)
        proxy.cut()
        waiting = [await submitted(client, JOB) for _ in range(20)]
        assert await flow_again_s(client) < 5  # of the others

        async def noticed() -> bool:
            return "broker is away" in fleet.log_of("job_submission")

        took_s = await until(noticed)
        print(f"cut off: noticed after {took_s:.1f} s")  # noqa: T201
        assert took_s < 20
        proxy.heal()
        began_s = time.monotonic()
        await all_succeed(waiting, 40)
        print(f"cut off: all done {time.monotonic() - began_s:.1f} s after it was healed")  # noqa: T201
