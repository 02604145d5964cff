"""Exchanges and queues, declared on a RabbitMQ channel."""

from __future__ import annotations

from collections.abc import Iterable

from aio_pika.abc import AbstractConnection
from aiormq.abc import ArgumentsType
from aiormq.channel import Channel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelPreconditionFailed,
)

from warrener.broker import Queue
from warrener.errors import BrokerUnavailable
from warrener.topology import EXCHANGES, PARKED

_MAX_PRIORITY = 10
_RETURNS = 100
"""How often a message may come back before a quorum queue puts it aside.

More often than workers that are full politely give an order back: RabbitMQ 4.0 to 4.2 count that as well. It is said
outright because 3.10 has no limit, and 4.0 one of 20, beyond which it drops.
"""
_NO_LIMIT = 1_000_000_000
"""-1 would say so, but only from 4.0 on."""


async def open_channel(connection: AbstractConnection, *, confirms: bool = False) -> Channel:
    """Open a channel of the lower library, whose calls cost half as much.

    What has arrived waits for its readers without a bound of its own: the prefetch and those who publish set one.
    """
    transport = connection.transport
    if transport is None:
        raise ChannelInvalidStateError("the connection was closed")
    try:
        channel = await transport.connection.channel(
            publisher_confirms=confirms, on_return_raises=confirms, frame_buffer_size=0
        )
    except RuntimeError as error:  # what the library says of a connection that has just been closed
        raise ChannelInvalidStateError("the connection was closed") from error
    assert isinstance(channel, Channel)
    return channel


async def declare_exchanges(connection: AbstractConnection) -> None:
    """Make sure that the exchanges of `warrener.topology` exist."""
    try:
        await _declare_exchanges(connection, passive=False)
    except ChannelAccessRefused:
        await _declare_exchanges(connection, passive=True)  # this user may only use what is there


async def _declare_exchanges(connection: AbstractConnection, *, passive: bool) -> None:
    channel = await open_channel(connection)
    for name, kind in EXCHANGES.items():
        await channel.exchange_declare(name, exchange_type=kind, durable=True, passive=passive)
    await channel.close()


async def declare_queues(channel: Channel, queues: Iterable[Queue], *, quorum: bool = False) -> None:
    """Make sure that these queues and bindings exist; BrokerUnavailable names the difference if one differs.

    The channel is closed by the broker in that case.
    """
    for queue in queues:
        try:
            await channel.queue_declare(
                queue.name,
                durable=not queue.exclusive,
                exclusive=queue.exclusive,
                arguments=_arguments(queue, quorum=quorum and not queue.exclusive),
            )
        except ChannelPreconditionFailed as error:
            raise BrokerUnavailable(
                f"the queue {queue.name} exists with other arguments: {' '.join(map(str, error.args))}; delete it, or"
                " give all programs the same version, and the same queues= in WARRENER_BROKER"
            ) from error
        except ChannelLockedResource as error:
            raise BrokerUnavailable(
                f"the queue {queue.name} belongs to another connection; close that one first "
                "(the broker may take half a minute to see that it is gone)"
            ) from error
        for exchange, key in queue.bindings:
            await channel.queue_bind(queue.name, exchange, key)


def _arguments(queue: Queue, *, quorum: bool) -> ArgumentsType:
    arguments: ArgumentsType = _quorum_arguments(queue) if quorum else {"x-max-priority": _MAX_PRIORITY}
    if queue.expires is not None:
        arguments["x-expires"] = int(queue.expires.total_seconds() * 1000)
    if queue.max_length is not None:
        arguments["x-max-length"] = queue.max_length
    if queue.max_bytes is not None:
        arguments["x-max-length-bytes"] = queue.max_bytes
    if queue.max_length is not None or queue.max_bytes is not None:
        arguments["x-overflow"] = "reject-publish" if queue.refuses else "drop-head"
    return arguments


def _quorum_arguments(queue: Queue) -> ArgumentsType:
    """Return what makes a queue a quorum queue; its priorities are two (5 and more, 4 and less), from 4.0 on."""
    arguments: ArgumentsType = {"x-queue-type": "quorum", "x-queue-leader-locator": "balanced"}
    if any(exchange == PARKED for exchange, _ in queue.bindings):
        return {**arguments, "x-delivery-limit": _NO_LIMIT}  # there is nowhere to put it aside again
    return {**arguments, "x-delivery-limit": _RETURNS, "x-dead-letter-exchange": PARKED}
