"""What only the in-process broker promises: exact order, fair turns, and one broker per URL and process."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.broker import Message, Queue
from warrener.brokers.memory import MemoryBroker
from warrener.brokers.memory_node import topic_matches
from warrener.topology import ORDERS, orders

JOBS = orders("job")


def order(text: str, priority: int = 0, key: str = "job") -> Message:
    return Message(ORDERS, key, "orders/1", text.encode(), text, priority=priority)


async def test_a_wake_up_that_a_cancelled_take_cannot_use_goes_to_the_next():
    broker = MemoryBroker()
    first, second = [await broker.subscribe([JOBS], prefetch=1) for _ in range(2)]
    cancelled, other = asyncio.create_task(first.take(1)), asyncio.create_task(second.take(1))
    await asyncio.sleep(0)
    await broker.publish(order("a"))
    cancelled.cancel()
    [got] = await asyncio.wait_for(other, 1)
    assert got.body == b"a"


async def test_a_wake_up_that_a_paused_subscription_cannot_use_goes_to_the_next():
    broker = MemoryBroker()
    first, second = [await broker.subscribe([JOBS], prefetch=1) for _ in range(2)]
    paused, other = asyncio.create_task(first.take(1)), asyncio.create_task(second.take(1))
    await asyncio.sleep(0)
    await broker.publish(order("a"))
    await first.pause()
    [got] = await asyncio.wait_for(other, 1)
    assert got.body == b"a"
    await broker.publish(order("b"))
    await first.resume()
    [got] = await asyncio.wait_for(paused, 1)
    assert got.body == b"b"


async def test_waiting_subscriptions_take_turns():
    broker = MemoryBroker()
    subscriptions = [await broker.subscribe([JOBS], prefetch=10) for _ in range(3)]
    takes = [asyncio.create_task(subscription.take(1)) for subscription in subscriptions]
    await asyncio.sleep(0)
    for text in "abc":
        await broker.publish(order(text))
    done = await asyncio.wait_for(asyncio.gather(*takes), 1)
    assert [got.body for [got] in done] == [b"a", b"b", b"c"]


async def test_a_busy_queue_does_not_starve_another_of_the_same_subscription():
    broker = MemoryBroker()
    busy, calm = JOBS, orders("stage")
    subscription = await broker.subscribe([busy, calm], prefetch=100)
    for number in range(10):
        await broker.publish(order(f"busy {number}"))
    await broker.publish(order("calm", key="stage"))
    assert [(await subscription.take(1))[0].body for _ in range(2)] == [b"busy 0", b"calm"]


async def test_publishing_in_a_loop_lets_others_run():
    broker = MemoryBroker()
    await broker.declare([JOBS])
    others_turns = 0

    async def other() -> None:
        nonlocal others_turns
        while True:
            others_turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for number in range(1000):
        await broker.publish(order(str(number)))
    task.cancel()
    assert others_turns > 10


async def test_the_brokers_of_a_url_end_with_their_last_connection():
    broker = MemoryBroker.connect("memory://here")
    await broker.declare([Queue("kept", [(ORDERS, "kept")])])
    await MemoryBroker.connect("memory://here").publish(order("a", key="kept"))
    await broker.close()
    del broker
    gc.collect()
    with pytest.raises(Exception, match="no queue"):
        await MemoryBroker.connect("memory://here").publish(order("a", key="kept"))


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["keep", "settle", "give back"]))))
def test_whatever_is_given_back_the_order_stays(steps):
    """Everything not settled comes out once, by priority and then by arrival."""

    async def scenario() -> None:
        broker = MemoryBroker()
        subscription = await broker.subscribe([JOBS], prefetch=1000)
        for number, (priority, _) in enumerate(steps):
            await broker.publish(order(str(number), priority=priority))
        left = {number: priority for number, (priority, _) in enumerate(steps)}
        taken = list(await subscription.take(1000)) if steps else []
        for delivery in taken:
            number = int(delivery.body)
            if steps[number][1] == "settle":
                del left[number]
                await subscription.settle([delivery])
            elif steps[number][1] == "give back":
                await subscription.give_back([delivery])
        await subscription.close()
        again = await broker.subscribe([JOBS], prefetch=1000)
        got = [int(delivery.body) for delivery in await again.take(1000)] if left else []
        assert got == sorted(left, key=lambda number: (-left[number], number))

    asyncio.run(scenario())


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=5))
def test_a_topic_pattern_takes_itself_and_everything_takes_all(words):
    key = ".".join(words)
    assert topic_matches("#", key)
    assert topic_matches(key, key)
    assert topic_matches(".".join("*" for _ in words), key)
    assert not topic_matches(key + ".d" if key else "d", key)
