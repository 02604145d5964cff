"""A look at a RabbitMQ broker from outside, for whoever wants to know whether it would do; it changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import cast

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.connection import make_url
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity
from yarl import URL

from warrener.brokers.amqp_alarm import Alarm
from warrener.brokers.amqp_errors import explain, translated
from warrener.brokers.amqp_place import Place, read_place
from warrener.brokers.amqp_topology import open_channel
from warrener.errors import BrokerUnavailable
from warrener.ids import new_token
from warrener.topology import CONTROL, EXCHANGES

_TIMEOUT_S = 10.0
_HEARTBEAT_S = 5  # what programs ask for
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """A queue as it is now."""

    name: str
    messages: int
    consumers: int


@dataclass(frozen=True, slots=True)
class BrokerSeen:
    """A broker that lets us in."""

    where: str
    product: str
    version: str
    heartbeat_s: int
    round_s: float | None
    """How long a message took there and back; None when it did not come, or none was sent."""
    refused: str
    """Why this user may not send itself a message; empty if it may."""
    missing: Sequence[str]
    """Exchanges of Warrener that are not there."""
    queues: Mapping[str, QueueSeen | None]
    alarm: str
    """What keeps it from taking messages; empty if nothing does."""


async def examine(url: str, queues: Sequence[str], owners: Sequence[str]) -> list[BrokerSeen | BrokerUnavailable]:
    """Look at each node of a broker, and at some queues; what keeps a node from being of use is returned in its place.

    `owners`: programs by whose names the user may make a queue `control.<owner>.…`. Raises InvalidSettings.
    """
    place = read_place(url)
    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(_examine_node(node, queues, owners)) for node in place.urls]
    return [look.result() for look in looks]


async def _examine_node(url: URL, queues: Sequence[str], owners: Sequence[str]) -> BrokerSeen | BrokerUnavailable:
    try:
        return await _connect_and_look(url, queues, owners)
    except BrokerUnavailable as error:
        return error


async def _connect_and_look(url: URL, queues: Sequence[str], owners: Sequence[str]) -> BrokerSeen:
    where = Place([url]).shown
    connection = aio_pika.Connection(make_url(url.update_query(heartbeat=str(_HEARTBEAT_S), name="warrener doctor")))
    alarm = Alarm(where)
    try:
        with translated(f"no connection to the broker at {where}"):
            async with asyncio.timeout(_TIMEOUT_S):
                await connection.connect()
        alarm.watch(connection)
        with translated(f"looking at the broker at {where}"):
            async with asyncio.timeout(_TIMEOUT_S):
                return await _look(connection, where, queues, owners, alarm)
    finally:
        with suppress(BrokerUnavailable), translated("leaving the broker"):
            async with asyncio.timeout(_TIMEOUT_S):
                await connection.close()


async def _look(
    connection: AbstractConnection, where: str, queues: Sequence[str], owners: Sequence[str], alarm: Alarm
) -> BrokerSeen:
    assert connection.transport is not None
    lower = connection.transport.connection
    told = cast("Mapping[str, object]", getattr(lower, "server_properties", None) or {})
    tuned = getattr(lower, "connection_tune", None)
    missing = [name for name in EXCHANGES if not await _is_there(connection, name)]
    seen = {name: await _queue(connection, name) for name in queues}
    round_s, refused = (None, "") if missing else await _try_round(connection, owners)
    return BrokerSeen(
        where=where,
        product=_text(told.get("product")) or "a broker",
        version=_text(told.get("version")),
        heartbeat_s=int(getattr(tuned, "heartbeat", 0) or 0),
        round_s=round_s,
        refused=refused,
        missing=missing,
        queues=seen,
        alarm=alarm.trouble(),
    )


async def _is_there(connection: AbstractConnection, exchange: str) -> bool:
    channel = await open_channel(connection)
    try:
        await channel.exchange_declare(exchange, passive=True)
    except ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


async def _queue(connection: AbstractConnection, name: str) -> QueueSeen | None:
    channel = await open_channel(connection)
    try:
        found = await channel.queue_declare(name, passive=True)
    except ChannelNotFoundEntity:
        return None
    await channel.close()
    return QueueSeen(name, found.message_count or 0, found.consumer_count or 0)


async def _try_round(connection: AbstractConnection, owners: Sequence[str]) -> tuple[float | None, str]:
    """Send a message in the name of the first who may; return how long it took, and why nobody may."""
    refused = ""
    for owner in owners:
        try:
            return await _round(connection, f"control.{owner}.doctor-{new_token(SystemRandom())}"), ""
        except ChannelAccessRefused as error:
            refused = refused or explain(error)
    return None, refused


async def _round(connection: AbstractConnection, queue: str) -> float | None:
    """Send a message through the real exchange to a queue of our own."""
    channel = await open_channel(connection, confirms=True)
    await channel.queue_declare(queue, exclusive=True, auto_delete=True)
    await channel.queue_bind(queue, CONTROL, queue)
    begun_s = time.monotonic()
    try:
        async with asyncio.timeout(_ANSWER_S):
            await channel.basic_publish(
                b"{}", exchange=CONTROL, routing_key=queue, mandatory=True
            )  # confirmed: it is there
            came = await channel.basic_get(queue, no_ack=True)
    except TimeoutError:
        return None
    await channel.close()
    return None if came.delivery_tag is None else time.monotonic() - begun_s


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
