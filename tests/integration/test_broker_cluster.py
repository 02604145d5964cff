"""RabbitMQ 4.0: a fleet on one node, and on a cluster of three with quorum queues that loses a node."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fleet.rabbitmq import RABBITMQ_4, Cluster
from fleet.stack import Fleet
from warrener.async_client import AsyncClient, AsyncRun
from warrener.broker import Message, Subscription
from warrener.brokers.amqp_place import read_place
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.errors import BrokerUnavailable, GatewayUnavailable, InvalidSettings
from warrener.topology import ORDERS, PARKED_QUEUE, orders
from warrener.views import RunAsked

pytestmark = pytest.mark.rabbitmq

JOBS = orders("job")
JOB = {"workflow": "jobs", "tasks": {"true": {"job": {"argv": ["true"]}}}}
_numbers = itertools.count()


# ── where the broker is ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_url_may_name_several_nodes_and_the_kind_of_queues() -> None:
    place = read_place("amqp://me:se%2Ccret@one,two:5673,three/vhost?queues=quorum")
    assert place.shown == "one:5672, two:5673, three:5672"
    assert place.quorum
    assert [url.password for url in place.urls] == ["se,cret"] * 3
    assert "queues" not in str(place.urls[0])
    assert not read_place("amqp://one/").quorum
    bare = read_place("amqp://me:secret@one,two,three?queues=quorum&auth=external")  # the default virtual host
    assert bare.quorum
    assert [str(url) for url in bare.urls] == [
        f"amqp://me:secret@{at}/?auth=external" for at in ("one", "two", "three")
    ]


@pytest.mark.parametrize("url", ["amqp://", "amqp:///vhost", "amqp://u:secret@one:x/", "amqp://u:secret@one/?queues=q"])
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidSettings, match="WARRENER_BROKER") as caught:
        read_place(url)
    assert "secret" not in str(caught.value)


# ── one node ────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def fleet_at(folder: Path, url: str) -> AsyncIterator[tuple[Fleet, AsyncClient]]:
    """Run a fleet on a broker that is there already."""
    fleet = Fleet(folder, database="sqlite", settings={"WARRENER_BROKER": url})
    await asyncio.to_thread(fleet.__enter__)
    try:
        fleet.start("scheduler", "gateway", "job_submission")
        async with AsyncClient(f"unix:{fleet.state}/gateway.sock", token="") as client:
            yield fleet, client
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)


async def submitted(client: AsyncClient, count: int) -> list[AsyncRun]:
    async with asyncio.timeout(60):
        while True:
            with suppress(GatewayUnavailable):
                asked = [RunAsked(key=f"r{next(_numbers)}") for _ in range(count)]
                return list(await client.submit_many(JOB, asked))
            await asyncio.sleep(0.1)


async def all_succeed(runs: list[AsyncRun], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        for run in runs:
            assert (await run.wait(within_s)).state == "succeeded"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("queues", ["classic", "quorum"])
async def test_a_fleet_works_on_rabbitmq_4(tmp_path: Path, amqp4_url: str, queues: str) -> None:
    async with fleet_at(tmp_path, f"{amqp4_url}?queues={queues}") as (_, client):
        await all_succeed(await submitted(client, 20), 60)


async def test_a_message_that_always_comes_back_is_put_aside(amqp4_url: str) -> None:
    broker = RabbitMQ.connect(f"{amqp4_url}?queues=quorum", name="test")
    try:
        parked = await broker.subscribe([PARKED_QUEUE], prefetch=1)
        jobs = await broker.subscribe([JOBS], prefetch=1)
        await broker.publish(order("again"))
        givings = asyncio.create_task(give_back_for_ever(jobs))
        async with asyncio.timeout(30):
            [found] = await parked.take(1)
        assert found.body == b"again"
        givings.cancel()
        await asyncio.wait([givings])
    finally:
        await broker.close()


async def give_back_for_ever(subscription: Subscription) -> None:
    while True:
        await subscription.give_back(await subscription.take(1))


# ── a cluster ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Lend three nodes to the tests of this module."""
    if reason := RABBITMQ_4.missing():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster"), RABBITMQ_4) as made:
        yield made


def order(text: str) -> Message:
    return Message(ORDERS, "job", "orders/1", text.encode(), f"m{next(_numbers)}")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_confirmed_is_lost_with_a_node_and_it_flows_again(cluster: Cluster) -> None:
    url = f"{cluster.url}?queues=quorum"
    brokers = [RabbitMQ.connect(url, name=f"test {number}") for number in range(3)]
    confirmed: list[str] = []
    seen: set[str] = set()
    stop = asyncio.Event()
    gaps: list[float] = []

    async def publish(broker: RabbitMQ, name: str) -> None:
        last_s = time.monotonic()
        for number in itertools.count():
            if stop.is_set():
                return
            try:
                await broker.publish(order(f"{name}.{number}"))
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
                continue
            gaps.append(time.monotonic() - last_s)
            last_s = time.monotonic()
            confirmed.append(f"{name}.{number}")
            await asyncio.sleep(0.005)

    async def consume(subscription: Subscription) -> None:
        while True:
            deliveries = await subscription.take(100)
            seen.update(delivery.body.decode() for delivery in deliveries)
            await subscription.settle(deliveries)

    async def enough(more: int) -> None:
        count = len(confirmed) + more
        async with asyncio.timeout(60):
            while len(confirmed) < count:
                await asyncio.sleep(0.05)

    try:
        subscriptions = [await broker.subscribe([JOBS], prefetch=50) for broker in brokers]
        async with asyncio.TaskGroup() as tasks:
            for number, broker in enumerate(brokers):
                tasks.create_task(publish(broker, str(number)))
            consuming = [tasks.create_task(consume(subscription)) for subscription in subscriptions]
            await enough(300)
            for victim in cluster.nodes[:2]:
                await asyncio.to_thread(victim.kill)
                await enough(300)
                await asyncio.to_thread(victim.start)
                await asyncio.to_thread(cluster.wait_until_whole)
                await enough(300)
            stop.set()
            async with asyncio.timeout(30):
                while not seen >= set(confirmed):
                    await asyncio.sleep(0.05)
            for task in consuming:
                task.cancel()
    finally:
        for broker in brokers:
            await broker.close()
    print(f"{len(confirmed)} confirmed, 0 lost; the longest gap of a publisher was {max(gaps):.1f} s")  # noqa: T201
    assert max(gaps) < 15


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_fleet_on_a_cluster_outlives_the_loss_of_a_node(cluster: Cluster, tmp_path: Path) -> None:
    async with fleet_at(tmp_path, f"{cluster.url}?queues=quorum") as (_, client):
        await all_succeed(await submitted(client, 20), 90)
        running = await submitted(client, 50)
        victim = cluster.nodes[2]
        await asyncio.to_thread(victim.kill)
        began_s = time.monotonic()
        await all_succeed(await submitted(client, 1), 30)
        print(f"a new run was done {time.monotonic() - began_s:.1f} s after the node was killed")  # noqa: T201
        await all_succeed(running, 60)
        await asyncio.to_thread(victim.start)
        await asyncio.to_thread(cluster.wait_until_whole)
        await all_succeed(await submitted(client, 20), 60)
