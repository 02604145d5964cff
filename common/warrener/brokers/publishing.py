"""What every broker checks before it publishes, and says when it could not."""

from __future__ import annotations

from warrener.broker import MAX_BODY_BYTES, MAX_PRIORITY, Message, Queue
from warrener.errors import BrokerUnavailable, QueueFull, Refused, Unroutable
from warrener.topology import EXCHANGES

_MAX_KEY_BYTES = 255  # of AMQP


def check_publishable(message: Message) -> None:
    """Raise Refused for what no broker of ours takes."""
    if len(message.body) > MAX_BODY_BYTES:
        raise Refused(
            f"a {message.kind} message of {len(message.body)} bytes; at most {MAX_BODY_BYTES} are published: "
            "stage the data and send a reference"
        )
    if message.exchange and message.exchange not in EXCHANGES:
        raise Refused(f"there is no exchange {message.exchange!r}; it is one of {', '.join(EXCHANGES)}")
    if len(message.routing_key.encode()) > _MAX_KEY_BYTES:
        raise Refused(f"the routing key {message.routing_key[:40]!r}… has more than {_MAX_KEY_BYTES} bytes")
    if not 0 <= message.priority <= MAX_PRIORITY:
        raise Refused(f"a {message.kind} message of priority {message.priority}; it is 0 to {MAX_PRIORITY}")


def unroutable(message: Message) -> Unroutable:
    """Return the error for a mandatory message that no queue takes."""
    where = message.exchange or "the default exchange"
    return Unroutable(f"no queue takes a {message.kind} message from {where} with the key {message.routing_key!r}")


def nacked(message: Message, queue: Queue | None) -> BrokerUnavailable:
    """Return the error for a message that the broker did not keep, without saying why; a queue that refuses is why."""
    if queue is not None:
        return full(queue)
    where = message.exchange or "the default exchange"
    return BrokerUnavailable(
        f"the broker did not take a {message.kind} message for {where}, key {message.routing_key!r}; see its log"
    )


def full(queue: Queue) -> QueueFull:
    """Return the error for a message that its queue refuses."""
    limits = [f"{queue.max_length:,} messages"] if queue.max_length is not None else []
    if queue.max_bytes is not None:
        limits.append(f"{queue.max_bytes:,} bytes")
    return QueueFull(
        f"the queue {queue.name} is full: it holds at most {' or '.join(limits)}, and its readers are behind; "
        "nothing was kept, try again in some seconds and more slowly"
    )
