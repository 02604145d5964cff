"""The broker carries messages; it never is the truth.

What an implementation promises:

* `publish` returns when the broker has the message safely (RabbitMQ: confirmed, after the queues took it). It raises
  `Unroutable` when no queue takes a mandatory message, `QueueFull` when its queue refuses more, and
  `BrokerUnavailable` when there is no confirm in time; the message may have arrived all the same, so every receiver is
  idempotent.
* A broker that is short of memory or disk blocks whoever publishes: `publish` waits for a while, then raises
  `BrokerBlocked` with the broker's reason. What waits meanwhile is not sent, so nothing piles up in the connection.
  Taking and settling go on.
* Many publishes may be in flight at a time; each waits for its own confirm only.
* A delivery that is not settled comes back, marked `redelivered`, when its subscription closes or its connection is
  lost. Settling one whose connection is gone does nothing.
* A lost connection heals by itself: subscriptions go on on the new one. `take` just waits longer.
* Queues are priority queues (0-9, higher first), durable; messages of equal priority keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

MAX_BODY_BYTES = 1024 * 1024
"""The largest body that is published: references travel, not data."""

MAX_PRIORITY = 9

Lost = Callable[[str], None]
"""Hears the name of a durable queue that is gone, or was made anew, with all that was in it."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. `message_id` is new for every publish; `kind` is the versioned kind of the body."""

    exchange: str
    routing_key: str
    kind: str
    body: bytes
    message_id: str
    priority: int = 0
    durable: bool = True
    mandatory: bool = True
    expires: timedelta | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a subscription hands out. `tag` is the implementation's own handle."""

    queue: str
    exchange: str
    routing_key: str
    kind: str
    body: bytes
    message_id: str
    redelivered: bool
    priority: int
    reply_to: str | None
    correlation_id: str | None
    headers: Mapping[str, str]
    tag: object


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and the routing keys that lead to it.

    `exclusive`: it lives and dies with its subscriber's connection, is not durable, and is declared anew after a
    reconnection. `expires`: it goes away after this long without a consumer. `max_length`, `max_bytes` (of bodies):
    beyond these the oldest messages are dropped, for a slow watcher must not stop whoever publishes; with `refuses`,
    new ones are refused instead, for what was accepted must not be dropped.
    """

    name: str
    bindings: Sequence[tuple[str, str]] = ()  # (exchange, routing key or pattern)
    exclusive: bool = False
    expires: timedelta | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    refuses: bool = False


class Subscription(Protocol):
    """A flow of deliveries from one or more queues, over one channel."""

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one delivery; return all that are there, up to `limit`, in the order of arrival.

        Raises BrokerUnavailable only when the subscription was closed.
        """
        ...

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge: these are done with and must not come back."""
        ...

    async def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Return to the front of their queues, for whoever takes them next."""
        ...

    async def pause(self) -> None:
        """Stop pulling; what was pulled and not taken yet goes back to its queue."""
        ...

    async def resume(self) -> None:
        """Pull again."""
        ...

    async def close(self) -> None:
        """Stop for good; everything unsettled goes back to its queue. Closing twice does nothing."""
        ...


class Broker(Protocol):
    """A connection to a broker; made by an implementation's `connect`, which waits for nothing."""

    async def declare(self, queues: Iterable[Queue]) -> None:
        """Make sure that the exchanges of `warrener.topology` and these queues exist; repeating is harmless.

        Raises BrokerUnavailable; also, with the difference named, when a queue exists with other arguments.
        """
        ...

    async def publish(self, message: Message) -> None:
        """Publish and wait for the confirm.

        Raises Unroutable, QueueFull, BrokerBlocked, BrokerUnavailable, or Refused when the body exceeds MAX_BODY_BYTES.
        """
        ...

    async def subscribe(self, queues: Sequence[Queue], *, prefetch: int, lost: Lost | None = None) -> Subscription:
        """Declare these queues and consume them; at most `prefetch` deliveries are handed out and not settled.

        A server may send so many from each of several queues: those that are not handed out wait here, and nobody else
        gets them.

        `lost` is called for every durable queue that is not there when it should be consumed, also the first time, and
        for every one that is deleted while it is.
        """
        ...

    async def ready(self) -> bool:
        """Tell whether the broker can be used right now."""
        ...

    def trouble(self) -> str:
        """Say why the broker cannot be used right now; empty when nothing is known against it."""
        ...

    def renew(self, why: str) -> None:
        """Drop the connections, and have new ones made, because they do not work although they look healthy.

        What is not settled comes back; subscriptions go on on the new ones. Returns at once.
        """
        ...

    async def close(self) -> None:
        """Close all subscriptions and the connections. Closing twice does nothing."""
        ...
