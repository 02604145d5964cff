"""What a subscription does when the library beneath it neither answers nor fails: it goes on, on another channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from warrener.broker import Delivery
from warrener.brokers.amqp_subscription import AmqpSubscription
from warrener.topology import orders

TIMEOUT_S = 0.05


class NeverUp:
    """A link whose connection never comes."""

    up = False

    async def get(self) -> None:
        await asyncio.Event().wait()


class Channel:
    """A channel on a connection that has just ended: every call does the same."""

    def __init__(self, then: Callable[[], Any]) -> None:
        async def act(*_args: Any, **_options: Any) -> None:
            await then()

        self.basic_ack = self.basic_nack = self.basic_cancel = self.basic_consume = act

    def deliver(self, number: int) -> DeliveredMessage:
        frame = Basic.Deliver("orders.job", number, False, "orders", "job")
        return DeliveredMessage(frame, ContentHeader(properties=Basic.Properties()), b"", cast("Any", self))


async def for_ever() -> None:
    """Wait for a place in a queue that its reader has left."""
    await asyncio.Event().wait()


async def cancelled() -> None:
    """End as the library ends its waiters when it finds the connection stuck."""
    raise asyncio.CancelledError


async def gone() -> None:
    raise ChannelInvalidStateError("closed")


@pytest.fixture
async def subscription() -> AsyncIterator[AmqpSubscription]:
    link = cast("Any", NeverUp())
    made = AmqpSubscription(link, [orders("job")], prefetch=10, timeout_s=TIMEOUT_S, closed=lambda _: None)
    await asyncio.sleep(0)
    yield made
    await made.close()


def put_on(subscription: AmqpSubscription, then: Callable[[], Any]) -> None:
    channel = Channel(then)
    subscription._channel = cast("Any", channel)
    subscription._consuming = {"orders.job"}
    subscription._arrived.extend(channel.deliver(number) for number in (1, 2, 3))


@pytest.mark.parametrize("then", [for_ever, cancelled, gone])
@pytest.mark.parametrize("doing", ["settle", "give_back", "pause", "resume"])
async def test_a_channel_that_neither_takes_nor_fails_holds_nobody_up_and_is_left(subscription, doing, then):
    put_on(subscription, then)
    deliveries: list[Delivery] = list(await subscription.take(2))
    if doing == "resume":
        subscription._consuming = set()
    calls = {"pause": subscription.pause, "resume": subscription.resume}
    async with asyncio.timeout(5):
        await (calls[doing]() if doing in calls else getattr(subscription, doing)(deliveries))
    assert subscription._broken.is_set()
    assert not subscription._lock.locked()


async def test_who_settles_can_still_be_cancelled(subscription):
    put_on(subscription, for_ever)
    subscription._timeout_s = 60
    deliveries = await subscription.take(2)
    settling = asyncio.create_task(subscription.settle(deliveries))
    while not subscription._lock.locked():
        await asyncio.sleep(0)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
