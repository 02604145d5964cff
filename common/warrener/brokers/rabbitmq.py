"""RabbitMQ, as `warrener.broker` wants it.

Two connections: the broker blocks those that publish when it runs out of memory or disk, and consuming and
settling must go on then. Publishing uses one channel with confirms, with many messages in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Self, TypeVar

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import DeliveryError, PublishError

from warrener.broker import Lost, Message, Queue
from warrener.brokers.amqp_alarm import Alarm
from warrener.brokers.amqp_errors import explain, translated
from warrener.brokers.amqp_link import Link
from warrener.brokers.amqp_place import read_place
from warrener.brokers.amqp_publishing import Publisher
from warrener.brokers.amqp_subscription import AmqpSubscription
from warrener.brokers.amqp_topology import declare_exchanges, declare_queues, open_channel
from warrener.brokers.ending import end
from warrener.brokers.publishing import check_publishable, nacked, unroutable
from warrener.errors import BrokerUnavailable
from warrener.topology import REFUSING

T = TypeVar("T")


class RabbitMQ:
    """A connection to RabbitMQ that heals by itself; made by `connect`."""

    def __init__(self, url: str, *, name: str, timeout_s: float, heartbeat_s: int) -> None:
        place = read_place(url)
        self._quorum = place.quorum
        self._timeout_s = timeout_s
        self._publishing: Link[Publisher] = Link(
            place,
            name=f"{name} publish",
            heartbeat_s=heartbeat_s,
            timeout_s=timeout_s,
            prepare=self._prepare_publishing,
        )
        self._consuming: Link[AbstractConnection] = Link(
            place,
            name=f"{name} consume",
            heartbeat_s=heartbeat_s,
            timeout_s=timeout_s,
            prepare=_prepare_consuming,
        )
        self._refusing = dict(REFUSING)
        self._alarm = Alarm(self._publishing.where)
        self._subscriptions: dict[AmqpSubscription, None] = {}
        self._closed = False
        self._lives = [
            asyncio.create_task(self._publishing.run(), name=f"broker connection {name} publish"),
            asyncio.create_task(self._consuming.run(), name=f"broker connection {name} consume"),
        ]

    @classmethod
    def connect(cls, url: str, *, name: str, timeout_s: float = 10.0, heartbeat_s: int = 5) -> Self:
        """Begin to connect, and go on for ever: an outage is logged once, and ends by itself.

        `url` may name the nodes of a cluster, as `amqp_place` says; raises InvalidSettings.

        `timeout_s`: how long a call waits for the broker. `heartbeat_s`: a frozen broker is noticed after
        three of these and three seconds; smaller values cost a little traffic.
        """
        return cls(url, name=name, timeout_s=timeout_s, heartbeat_s=heartbeat_s)

    async def declare(self, queues: Iterable[Queue]) -> None:
        queues = self._noted(queues)
        with translated(f"declaring queues at {self._consuming.where}"):
            connection = await self._wait_for(self._consuming)
            async with asyncio.timeout(self._timeout_s):
                # A channel of its own: the broker closes it when a queue differs.
                channel = await open_channel(connection)
                try:
                    await declare_queues(channel, queues, quorum=self._quorum)
                finally:
                    await channel.close()

    async def publish(self, message: Message) -> None:
        check_publishable(message)
        with translated(f"publishing a {message.kind} message at {self._publishing.where}"):
            publisher = await self._wait_for(self._publishing)
            try:
                async with asyncio.timeout(self._timeout_s):
                    if self._alarm.reason:
                        await self._alarm.over()
                    await publisher.publish(message)
            except PublishError as error:
                raise unroutable(message) from error
            except DeliveryError as error:
                raise nacked(message, self._refusing.get((message.exchange, message.routing_key))) from error
            except TimeoutError as error:
                if self._alarm.reason:
                    raise self._alarm.blocked(message.kind) from error
                raise

    async def subscribe(self, queues: Sequence[Queue], *, prefetch: int, lost: Lost | None = None) -> AmqpSubscription:
        """Declare these queues and consume them, as `Broker.subscribe` says.

        With the broker away, it returns after a while all the same: deliveries come when the broker does.
        """
        self._check_open()
        queues = self._noted(queues)
        subscription = AmqpSubscription(
            self._consuming, queues, prefetch=prefetch, timeout_s=self._timeout_s, quorum=self._quorum, lost=lost,
            closed=self._forget,
        )  # fmt: skip
        self._subscriptions[subscription] = None
        try:
            await subscription.started()
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def ready(self) -> bool:
        return not self.trouble()

    def trouble(self) -> str:
        if self._closed:
            return "this connection to the broker was closed"
        for link in (self._publishing, self._consuming):
            if not link.up:
                return str(link.unavailable())
        return self._alarm.trouble()

    def renew(self, why: str) -> None:
        self._publishing.drop(why)
        self._consuming.drop(why)

    async def close(self) -> None:
        self._closed = True
        while self._subscriptions:
            await self._subscriptions.popitem()[0].close()
        await end(*self._lives)

    def _forget(self, subscription: AmqpSubscription) -> None:
        self._subscriptions.pop(subscription, None)

    def _noted(self, queues: Iterable[Queue]) -> list[Queue]:
        """Remember which of these refuse what they cannot hold: a refusal by the broker names no queue."""
        noted = list(queues)
        self._refusing.update((binding, queue) for queue in noted if queue.refuses for binding in queue.bindings)
        return noted

    async def _prepare_publishing(self, connection: AbstractConnection) -> Publisher:
        await declare_exchanges(connection)
        channel = await open_channel(connection, confirms=True)
        self._alarm.watch(connection)
        # The broker closes the channel when an exchange was deleted: a new connection declares it again.
        channel.closing.add_done_callback(lambda closing: self._publishing.drop(_why_closed(closing)))
        return Publisher(channel)

    async def _wait_for(self, link: Link[T]) -> T:
        self._check_open()
        if link.up:
            return await link.get()  # at once
        try:
            async with asyncio.timeout(self._timeout_s):
                return await link.get()
        except TimeoutError:
            raise link.unavailable() from None

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerUnavailable("this connection to the broker was closed")


async def _prepare_consuming(connection: AbstractConnection) -> AbstractConnection:
    await declare_exchanges(connection)
    return connection


def _why_closed(closing: asyncio.Future[None]) -> str:
    error = None if closing.cancelled() else closing.exception()
    return explain(error) if error else "the channel for publishing was closed"
