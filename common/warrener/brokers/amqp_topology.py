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
from warrener.topology import EXCHANGES

_MAX_PRIORITY = 10


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


async def declare_queues(channel: Channel, queues: Iterable[Queue]) -> None:
    """Make sure that these queues and bindings exist; BrokerUnavailable names the difference if one differs.

    The channel is closed by the broker in that case.
    """
    for queue in queues:
        try:
            await channel.queue_declare(
                queue.name,
                durable=not queue.exclusive,
                exclusive=queue.exclusive,
                arguments=_arguments(queue),
            )
        except ChannelPreconditionFailed as error:
            raise BrokerUnavailable(
                f"the queue {queue.name} exists with other arguments: {' '.join(map(str, error.args))}; "
                "delete it, or upgrade the other programs"
            ) from error
        except ChannelLockedResource as error:
            raise BrokerUnavailable(
                f"the queue {queue.name} belongs to another connection; close that one first "
                "(the broker may take half a minute to see that it is gone)"
            ) from error
        for exchange, key in queue.bindings:
            await channel.queue_bind(queue.name, exchange, key)


def _arguments(queue: Queue) -> ArgumentsType:
    arguments: ArgumentsType = {"x-max-priority": _MAX_PRIORITY}
    if queue.expires is not None:
        arguments["x-expires"] = int(queue.expires.total_seconds() * 1000)
    if queue.max_length is not None:
        arguments["x-max-length"] = queue.max_length
    if queue.max_bytes is not None:
        arguments["x-max-length-bytes"] = queue.max_bytes
    if queue.max_length is not None or queue.max_bytes is not None:
        arguments["x-overflow"] = "reject-publish" if queue.refuses else "drop-head"
    return arguments
