"""What every broker promises, on every broker; see warrener/broker.py."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest

from warrener.broker import MAX_BODY_BYTES, Broker, Delivery, Message, Queue, Subscription
from warrener.brokers.memory import MemoryBroker
from warrener.brokers.memory_node import MemoryNode
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.errors import BrokerUnavailable, QueueFull, Refused, Unroutable
from warrener.topology import CONTROL, EVENTS, ORDERS, PARKED, PARKED_QUEUE, REPORTS, control, orders

Connect = Callable[[], Broker]

JOBS = orders("job")
_numbers = itertools.count()


_SERVERS = {"rabbitmq": ("amqp_url", ""), "rabbitmq4": ("amqp4_url", ""), "quorum": ("amqp4_url", "?queues=quorum")}

_ABOUT = "quorum queues keep their bounds about: some in flight more"
_ON_QUORUM = {
    "test_a_full_queue_that_refuses_says_so_at_once_and_keeps_what_it_has": _ABOUT,
    "test_a_queue_that_refuses_is_also_bounded_in_bytes": _ABOUT,
    "test_among_many_publishes_in_flight_exactly_what_fits_is_kept": _ABOUT,
    "test_higher_priorities_come_first_and_equal_ones_keep_their_order": "quorum queues have two priorities, 2 : 1",
    "test_a_paused_subscription_pulls_nothing_and_holds_only_what_was_taken": "quorum queues return in another order",
    "test_an_unused_queue_expires": "quorum queues expire some seconds late",
}
"""What quorum queues do not promise; nothing but the order of the urgent rests on it."""


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.rabbitmq) for name in _SERVERS)])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Connect to one and the same empty broker as often as wanted."""
    made: list[Broker] = []
    if request.param == "memory":
        node = MemoryNode()
        new: Connect = lambda: MemoryBroker(node)  # noqa: E731
    else:
        if request.param == "quorum" and (why := _ON_QUORUM.get(request.function.__name__)):
            pytest.skip(why)
        fixture, query = _SERVERS[request.param]
        url = request.getfixturevalue(fixture) + query
        new = lambda: RabbitMQ.connect(url, name="test")  # noqa: E731

    def connect() -> Broker:
        made.append(new())
        return made[-1]

    yield connect
    for broker in made:
        await broker.close()


@pytest.fixture
async def broker(connect: Connect) -> Broker:
    return connect()


def order(text: str = "", key: str = "job", exchange: str = ORDERS, **more: object) -> Message:
    return Message(exchange, key, "orders/1", text.encode(), f"m{next(_numbers)}", **more)


async def publish(broker: Broker, *texts: str, **more: object) -> None:
    for text in texts:
        await broker.publish(order(text, **more))


async def take(subscription: Subscription, count: int, within_s: float = 10) -> list[Delivery]:
    """Take exactly this many."""
    taken: list[Delivery] = []
    async with asyncio.timeout(within_s):
        while len(taken) < count:
            taken += await subscription.take(count - len(taken))
    return taken


def texts(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.body.decode() for delivery in deliveries]


async def nothing_comes(broker: Broker, subscription: Subscription) -> bool:
    """Tell that a take stays without an answer, for as long as a message needs through another queue."""
    waiting = asyncio.create_task(subscription.take(1))
    probe = Queue(f"probe.{next(_numbers)}", exclusive=True)
    echo = await broker.subscribe([probe], prefetch=1)
    await broker.publish(order(key=probe.name, exchange=""))
    await take(echo, 1)
    await echo.close()
    empty = not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    return empty


# ── publishing ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_published_message_is_delivered_as_it_was(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    sent = order("hello", priority=7, reply_to="me", correlation_id="c", headers={"shard": "3"})
    await broker.publish(sent)
    [got] = await take(subscription, 1)
    assert (got.queue, got.exchange, got.routing_key, got.kind) == ("orders.job", ORDERS, "job", "orders/1")
    assert (got.body, got.message_id, got.priority) == (b"hello", sent.message_id, 7)
    assert (got.reply_to, got.correlation_id, got.headers) == ("me", "c", {"shard": "3"})
    assert got.redelivered is False


async def test_an_empty_body_and_the_largest_body_travel(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    await broker.publish(order(""))
    await broker.publish(order("x" * MAX_BODY_BYTES))
    assert [len(got.body) for got in await take(subscription, 2)] == [0, MAX_BODY_BYTES]


async def test_a_body_beyond_the_limit_is_refused(broker):
    await broker.declare([JOBS])
    with pytest.raises(Refused, match=r"1048577 bytes.*stage the data"):
        await broker.publish(order("x" * (MAX_BODY_BYTES + 1)))


async def test_a_mandatory_message_that_no_queue_takes_is_unroutable(broker):
    with pytest.raises(Unroutable, match=r"orders/1.*warrener.orders.*'nowhere'"):
        await broker.publish(order(key="nowhere"))
    with pytest.raises(Unroutable, match="default exchange"):
        await broker.publish(order(exchange="", key="nowhere"))


async def test_a_message_that_is_not_mandatory_may_go_nowhere(broker):
    await broker.publish(order(key="nowhere", mandatory=False))


async def test_an_unknown_exchange_is_refused_and_does_no_harm(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    with pytest.raises(Refused, match="no exchange 'elsewhere'"):
        await broker.publish(order(exchange="elsewhere"))
    await publish(broker, "a")
    assert texts(await take(subscription, 1)) == ["a"]


async def test_a_strange_priority_or_key_is_refused_and_does_no_harm(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    with pytest.raises(Refused, match="priority 10"):
        await publish(broker, "a", priority=10)
    with pytest.raises(Refused, match="255 bytes"):
        await publish(broker, "a", key="k" * 256)
    await publish(broker, "b")
    assert texts(await take(subscription, 1)) == ["b"]


async def test_each_of_many_publishes_in_flight_waits_for_its_own_confirm(broker):
    subscription = await broker.subscribe([JOBS], prefetch=1000)
    keys = ["job" if number % 3 else "nowhere" for number in range(300)]
    answers = await asyncio.gather(*(broker.publish(order(key=key)) for key in keys), return_exceptions=True)
    assert [isinstance(answer, Unroutable) for answer in answers] == [key == "nowhere" for key in keys]
    await take(subscription, 200)


async def test_a_publish_can_be_cancelled(broker):
    await broker.declare([JOBS])
    publishing = asyncio.create_task(broker.publish(order("a")))
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    await publish(broker, "b")


async def test_a_reply_goes_straight_to_a_queue(broker, connect):
    answers = await broker.subscribe([Queue("answers-of-a-client", exclusive=True)], prefetch=10)
    await connect().publish(order("done", exchange="", key="answers-of-a-client"))
    [got] = await take(answers, 1)
    assert (got.exchange, got.routing_key, got.body) == ("", "answers-of-a-client", b"done")


async def test_a_message_expires_in_its_queue(broker):
    await broker.declare([JOBS])
    await publish(broker, "old", expires=timedelta(milliseconds=1))
    await asyncio.sleep(0.05)  # expiring is about time
    await publish(broker, "new", expires=timedelta(minutes=1))
    assert texts(await take(await broker.subscribe([JOBS], prefetch=10), 1)) == ["new"]


async def test_a_full_queue_drops_its_oldest_messages(broker):
    short = Queue("short", [(EVENTS, "runs")], max_length=2)
    await broker.declare([short])
    await publish(broker, "a", "b", "c", key="runs", exchange=EVENTS)
    subscription = await broker.subscribe([short], prefetch=10)
    assert texts(await take(subscription, 2)) == ["b", "c"]


async def test_a_full_queue_that_refuses_says_so_at_once_and_keeps_what_it_has(broker):
    inbox = Queue("inbox", [(REPORTS, "inbox")], max_length=3, refuses=True)
    await broker.declare([inbox])
    await publish(broker, *"abc", key="inbox", exchange=REPORTS)
    with pytest.raises(QueueFull, match=r"the queue inbox is full: it holds at most 3 messages.*try again"):
        await publish(broker, "d", key="inbox", exchange=REPORTS)
    subscription = await broker.subscribe([inbox], prefetch=10)
    got = await take(subscription, 3)
    assert texts(got) == ["a", "b", "c"]
    await subscription.settle(got)
    await publish(broker, "e", key="inbox", exchange=REPORTS)
    assert texts(await take(subscription, 1)) == ["e"]


async def test_a_queue_that_refuses_is_also_bounded_in_bytes(broker):
    inbox = Queue("inbox", [(REPORTS, "inbox")], max_length=100, max_bytes=1000, refuses=True)
    await broker.declare([inbox])
    await publish(broker, "x" * 600, "y" * 400, key="inbox", exchange=REPORTS)
    with pytest.raises(QueueFull, match=r"at most 100 messages or 1,000 bytes"):
        await publish(broker, "z", key="inbox", exchange=REPORTS)


async def test_among_many_publishes_in_flight_exactly_what_fits_is_kept(broker):
    inbox = Queue("inbox", [(REPORTS, "inbox")], max_length=50, refuses=True)
    await broker.declare([inbox])
    messages = [order(str(number), key="inbox", exchange=REPORTS, priority=number % 10) for number in range(200)]
    answers = await asyncio.gather(*(broker.publish(message) for message in messages), return_exceptions=True)
    kept = [message.body.decode() for message, answer in zip(messages, answers, strict=True) if answer is None]
    assert all(answer is None or isinstance(answer, QueueFull) for answer in answers)
    assert len(kept) == 50
    subscription = await broker.subscribe([inbox], prefetch=200)
    assert sorted(texts(await take(subscription, 50))) == sorted(kept)
    assert await nothing_comes(broker, subscription)


# ── routing ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_direct_exchange_routes_by_the_whole_key(broker):
    jobs = await broker.subscribe([JOBS], prefetch=10)
    stages = await broker.subscribe([orders("stage")], prefetch=10)
    await publish(broker, "s", key="stage")
    await publish(broker, "j")
    assert texts(await take(jobs, 1)) == ["j"]
    assert texts(await take(stages, 1)) == ["s"]


async def test_a_topic_exchange_copies_to_every_queue_that_wants_it(broker):
    alice = await broker.subscribe([control("alice", "heartbeat", "wake")], prefetch=10)
    bob = await broker.subscribe([control("bob", "heartbeat")], prefetch=10)
    await publish(broker, "w", key="wake", exchange=CONTROL)
    await publish(broker, "h", key="heartbeat", exchange=CONTROL)
    assert texts(await take(alice, 2)) == ["w", "h"]
    assert texts(await take(bob, 1)) == ["h"]


@pytest.mark.parametrize(
    ("pattern", "key", "wanted"),
    [
        ("#", "a.b", True),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.#", "a", True),
        ("a.#.z", "a.b.c.z", True),
        ("a.*.z", "a.b.c.z", False),
        ("#.b.*", "a.b.c", True),
        ("#.b", "a.b.c", False),
    ],
)
async def test_topic_patterns(broker, pattern, key, wanted):
    subscription = await broker.subscribe([Queue("q", [(EVENTS, pattern)], exclusive=True)], prefetch=1)
    sending = broker.publish(order("x", key=key, exchange=EVENTS))
    if wanted:
        await sending
        await take(subscription, 1)
    else:
        with pytest.raises(Unroutable):
            await sending


async def test_a_fanout_exchange_ignores_the_key(broker):
    parked = await broker.subscribe([PARKED_QUEUE], prefetch=10)
    await publish(broker, "p", key="whatever", exchange=PARKED)
    assert texts(await take(parked, 1)) == ["p"]


async def test_a_queue_with_two_matching_bindings_gets_one_copy(broker):
    queue = Queue("both", [(EVENTS, "runs"), (EVENTS, "#")], exclusive=True)
    subscription = await broker.subscribe([queue], prefetch=10)
    await publish(broker, "a", "b", key="runs", exchange=EVENTS)
    assert texts(await take(subscription, 2)) == ["a", "b"]


async def test_one_subscription_consumes_several_queues(broker):
    shards = [Queue(f"reports.{shard}", [(REPORTS, str(shard))]) for shard in range(5)]
    subscription = await broker.subscribe(shards, prefetch=100)
    for shard in range(5):
        await publish(broker, f"a{shard}", f"b{shard}", key=str(shard), exchange=REPORTS)
    got = await take(subscription, 10)
    assert {delivery.queue for delivery in got} == {queue.name for queue in shards}
    for shard in range(5):
        assert [text for text in texts(got) if text.endswith(str(shard))] == [f"a{shard}", f"b{shard}"]


# ── order ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_higher_priorities_come_first_and_equal_ones_keep_their_order(broker):
    await broker.declare([JOBS])
    for priority in (0, 5, 9, 5, 0, 9):
        await publish(broker, f"{priority}", priority=priority)
        await publish(broker, f"{priority}'", priority=priority)
    got = texts(await take(await broker.subscribe([JOBS], prefetch=100), 12))
    assert got == ["9", "9'", "9", "9'", "5", "5'", "5", "5'", "0", "0'", "0", "0'"]


async def test_a_take_returns_all_that_is_there_up_to_its_limit(broker):
    subscription = await broker.subscribe([JOBS], prefetch=100)
    await publish(broker, *"abcde")
    first = await take(subscription, 2)
    assert texts(first) == ["a", "b"]
    assert texts(await take(subscription, 3)) == ["c", "d", "e"]


# ── settling ────────────────────────────────────────────────────────────────────────────────────────────


async def test_at_most_prefetch_deliveries_are_unsettled(broker):
    subscription = await broker.subscribe([JOBS], prefetch=3)
    await publish(broker, *"abcde")
    first = await take(subscription, 3)
    assert await nothing_comes(broker, subscription)
    await subscription.settle(first[:1])
    assert texts(await take(subscription, 1)) == ["d"]


async def test_settled_deliveries_do_not_come_back_and_others_do(broker, connect):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    await publish(broker, *"abcdef")
    got = await take(subscription, 6)
    await subscription.settle([got[4], got[1], got[0]])  # a prefix and one beyond it
    await subscription.close()
    again = await take(await connect().subscribe([JOBS], prefetch=10), 3)
    assert texts(again) == ["c", "d", "f"]
    assert all(delivery.redelivered for delivery in again)


async def test_settling_in_any_order_and_twice_is_harmless(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    await publish(broker, *"abcdefgh")
    got = await take(subscription, 8)
    await asyncio.gather(
        subscription.settle(got[6:]), subscription.settle(got[:3]), subscription.settle([got[5], got[3]])
    )
    await subscription.settle(got)
    await subscription.settle([])
    await publish(broker, "i")
    assert texts(await take(subscription, 1)) == ["i"]


async def test_what_is_given_back_comes_first_again_marked_redelivered(broker):
    subscription = await broker.subscribe([JOBS], prefetch=2)
    await publish(broker, *"abc")
    await subscription.give_back(await take(subscription, 2))
    again = await take(subscription, 2)
    assert texts(again) == ["a", "b"]
    assert all(delivery.redelivered for delivery in again)
    await subscription.settle(again)
    [last] = await take(subscription, 1)
    assert (last.body, last.redelivered) == (b"c", False)


async def test_what_one_gives_back_another_takes(broker, connect):
    greedy = await broker.subscribe([JOBS], prefetch=10)
    await publish(broker, "a")
    held = await take(greedy, 1)
    other = await connect().subscribe([JOBS], prefetch=10)
    await greedy.pause()
    await greedy.give_back(held)
    assert texts(await take(other, 1)) == ["a"]


async def test_a_delivery_settled_after_its_subscription_closed_does_nothing(broker, connect):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    await publish(broker, "a")
    held = await take(subscription, 1)
    await subscription.close()
    await subscription.settle(held)
    await subscription.give_back(held)
    assert texts(await take(await connect().subscribe([JOBS], prefetch=10), 1)) == ["a"]


async def test_competing_subscriptions_share_and_none_gets_what_another_has(broker, connect):
    one = await broker.subscribe([JOBS], prefetch=5)
    two = await connect().subscribe([JOBS], prefetch=5)
    await publish(broker, *"abcdefghij")
    got = texts(await take(one, 5)) + texts(await take(two, 5))
    assert sorted(got) == list("abcdefghij")


# ── pausing, closing ────────────────────────────────────────────────────────────────────────────────────


async def test_a_paused_subscription_pulls_nothing_and_holds_only_what_was_taken(broker, connect):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    await publish(broker, *"abc")
    held = await take(subscription, 1)
    await subscription.pause()
    other = await connect().subscribe([JOBS], prefetch=10)
    got = await take(other, 2)
    assert texts(got) == ["b", "c"]
    await other.close()
    assert await nothing_comes(broker, subscription)
    await subscription.settle(held)
    await subscription.resume()
    assert texts(await take(subscription, 2)) == ["b", "c"]


async def test_pausing_and_resuming_twice_is_harmless(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    for _ in range(2):
        await subscription.pause()
    for _ in range(2):
        await subscription.resume()
    await publish(broker, "a", "b")
    assert texts(await take(subscription, 2)) == ["a", "b"]


async def test_a_waiting_take_ends_when_its_subscription_closes(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    waiting = asyncio.create_task(subscription.take(1))
    await asyncio.sleep(0)
    await subscription.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await waiting
    with pytest.raises(BrokerUnavailable, match="closed"):
        await subscription.take(1)
    await subscription.close()


async def test_a_cancelled_take_loses_nothing(broker):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    waiting = asyncio.create_task(subscription.take(1))
    await asyncio.sleep(0)
    publishing = asyncio.create_task(publish(broker, "a"))
    waiting.cancel()
    await asyncio.wait([waiting, publishing])
    assert texts(await take(subscription, 1)) == ["a"]


async def test_a_closed_broker_gives_everything_back_and_refuses_calls(broker, connect):
    subscription = await broker.subscribe([JOBS], prefetch=10)
    await publish(broker, "a", "b")
    await take(subscription, 1)
    await broker.close()
    await broker.close()
    assert not await broker.ready()
    assert "closed" in broker.trouble()
    for call in (
        broker.publish(order()),
        broker.declare([JOBS]),
        broker.subscribe([JOBS], prefetch=1),
        subscription.take(1),
    ):
        with pytest.raises(BrokerUnavailable, match="closed"):
            await call
    again = await take(await connect().subscribe([JOBS], prefetch=10), 2)
    assert texts(again) == ["a", "b"]


async def test_an_open_broker_becomes_ready(broker):
    await broker.declare([JOBS])
    await publish(broker, "a")
    assert await broker.ready()
    assert not broker.trouble()


# ── queues ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_declaring_again_is_harmless_and_keeps_the_messages(broker, connect):
    await broker.declare([JOBS])
    await publish(broker, "a")
    await connect().declare([JOBS, JOBS])
    assert texts(await take(await broker.subscribe([JOBS], prefetch=1), 1)) == ["a"]


async def test_a_queue_with_other_arguments_is_an_error_that_names_the_difference(broker):
    await broker.declare([JOBS])
    other = Queue(JOBS.name, JOBS.bindings, max_length=5)
    for call in (broker.declare([other]), broker.subscribe([other], prefetch=1)):
        with pytest.raises(BrokerUnavailable, match=r"orders.job exists with other arguments.*max.length"):
            await call
    await publish(broker, "a")  # the connection is as good as before
    assert texts(await take(await broker.subscribe([JOBS], prefetch=1), 1)) == ["a"]


async def test_an_exclusive_queue_belongs_to_one_connection(broker, connect):
    await broker.subscribe([control("me", "wake")], prefetch=1)
    with pytest.raises(BrokerUnavailable, match=r"control.me belongs to another connection"):
        await connect().subscribe([control("me", "wake")], prefetch=1)


async def test_an_exclusive_queue_goes_with_its_subscription(broker, connect):
    subscription = await broker.subscribe([control("me", "wake")], prefetch=1)
    await subscription.close()
    with pytest.raises(Unroutable):
        await publish(connect(), "w", key="wake", exchange=CONTROL)


async def test_an_unused_queue_expires(broker):
    await broker.declare([Queue("brief", [(ORDERS, "brief")], expires=timedelta(milliseconds=100))])
    await publish(broker, "a", key="brief")
    await asyncio.sleep(0.3)  # expiring is about time
    with pytest.raises(Unroutable):
        await publish(broker, "b", key="brief")


async def test_a_used_queue_does_not_expire(broker):
    brief = Queue("brief", [(ORDERS, "brief")], expires=timedelta(milliseconds=100))
    subscription = await broker.subscribe([brief], prefetch=1)
    await asyncio.sleep(0.3)  # expiring is about time
    await publish(broker, "a", key="brief")
    assert texts(await take(subscription, 1)) == ["a"]


async def test_closed_subscriptions_are_not_kept(broker):
    kept = []
    for _ in range(3):
        subscription = await broker.subscribe([JOBS], prefetch=1)
        kept.append(weakref.ref(subscription))
        await subscription.close()
        await subscription.close()
        del subscription
    gc.collect()
    assert [one() for one in kept[:2]] == [None, None]  # of the last one a library may have something in hand yet
    assert await broker.ready()
