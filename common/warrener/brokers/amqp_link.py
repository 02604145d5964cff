"""One connection to RabbitMQ that is made again, for ever, whenever it is lost.

The library has a self-restoring connection of its own. It is not used: when its restoring of a channel fails
once (a queue declared with other arguments, say), the consumer is gone for good while the connection still
looks healthy. Here the rule is plain: whatever breaks, drop the whole connection and build everything anew.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.connection import make_url

from warrener.brokers.amqp_errors import FAILURES, explain
from warrener.brokers.amqp_place import Place
from warrener.brokers.amqp_words import read_wrong_words
from warrener.brokers.ending import stop_if_cancelled
from warrener.errors import BrokerUnavailable

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 3.0
_CLOSE_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 5.0
"""A try that met a silent network must not outlast the silence by much."""
_LOOK_EVERY_S = 1.0
_SILENT_HEARTBEATS = 3
"""The broker sends two in that time; the library itself gives up later, and looks seldom."""
_LEAST_SILENCE_S = 5.0
_LAST_FRAME = "_Connection__last_frame_time"

log = structlog.get_logger(__name__)

read_wrong_words()

T = TypeVar("T")


class Link(Generic[T]):
    """A connection, and the thing that `prepare` makes on it (a channel, say) each time it comes up.

    `run` is its life and belongs into a task; everything else may be called at any time.
    """

    def __init__(
        self,
        place: Place,
        *,
        name: str,
        heartbeat_s: int,
        timeout_s: float,
        prepare: Callable[[AbstractConnection], Awaitable[T]],
    ) -> None:
        self.where = place.shown
        self._urls = [url.update_query(heartbeat=str(heartbeat_s), name=name) for url in place.urls]
        self._spread = zlib.crc32(name.encode())
        self._name = name
        self._silence_s = max(_LEAST_SILENCE_S, heartbeat_s * _SILENT_HEARTBEATS)
        self._timeout_s = timeout_s
        self._prepare = prepare
        self._thing: T | None = None
        self._up = asyncio.Event()
        self._lost: asyncio.Future[str] | None = None
        self._why = "not connected yet"
        self._failures = 0
        self._turn = self._spread  # of the addresses; the connections of a fleet begin at different ones

    @property
    def up(self) -> bool:
        return self._up.is_set()

    async def get(self) -> T:
        """Wait until the connection is up; return what was prepared on it. The caller limits the time."""
        while self._thing is None:
            await self._up.wait()
        return self._thing

    def unavailable(self) -> BrokerUnavailable:
        """Return the error for whoever could not wait any longer."""
        return BrokerUnavailable(f"no connection to the broker at {self.where}: {self._why}")

    def drop(self, why: str) -> None:
        """Give up the present connection because something on it does not work; a new one follows."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        while True:
            try:
                await self._live()
            except asyncio.CancelledError as error:
                if _cancelled_by_us():
                    raise
                self._went_down(explain(error))  # the library cancels its own waiters when a connection breaks
            except (BrokerUnavailable, *FAILURES) as error:
                self._went_down(explain(error))
            except Exception as error:  # a surprise must not end the reconnecting
                log.exception("broker connection failed unexpectedly", broker=self.where, connection=self._name)
                self._went_down(explain(error))
            await asyncio.sleep(self._delay_s())

    async def _live(self) -> None:
        """Live through one connection, from its making to its loss."""
        # Made by hand, to be closed even if it never opens: a connection that the garbage collector finds unclosed
        # tries to close itself, in whatever thread that happens.
        connection = aio_pika.Connection(make_url(self._urls[self._turn % len(self._urls)]))
        try:
            async with asyncio.timeout(min(self._timeout_s, _CONNECT_TIMEOUT_S)):
                await connection.connect()
            self._lost = lost = asyncio.get_running_loop().create_future()
            connection.close_callbacks.add(lambda _, error: self._lose(lost, error))
            async with asyncio.timeout(self._timeout_s):
                self._thing = await self._prepare(connection)
            stop_if_cancelled()
            self._came_up()
            raise BrokerUnavailable(await self._loss(connection, lost))
        finally:
            self._thing = None
            self._up.clear()
            await _close(connection)

    async def _loss(self, connection: AbstractConnection, lost: asyncio.Future[str]) -> str:
        """Wait for the end of a connection; return why it is of no use any more."""
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        while not (await asyncio.wait([lost], timeout=_LOOK_EVERY_S))[0]:
            late_s, looked_s = loop.time() - looked_s - _LOOK_EVERY_S, loop.time()
            if late_s > _LOOK_EVERY_S or connection.transport is None:
                continue  # this program itself stood still; what came meanwhile is not read yet
            silent_s = looked_s - getattr(connection.transport.connection, _LAST_FRAME, looked_s)
            if silent_s > self._silence_s:
                return f"nothing was heard from it for {silent_s:.0f} s"
        return lost.result()

    @staticmethod
    def _lose(lost: asyncio.Future[str], error: BaseException | None) -> None:
        if not lost.done():
            lost.set_result(explain(error) if error else "the broker closed the connection")

    def _came_up(self) -> None:
        if self._failures:
            log.info("broker is back", broker=self.where, connection=self._name)
        self._failures = 0
        self._up.set()

    def _went_down(self, why: str) -> None:
        self._why = why
        self._failures += 1
        self._turn += 1
        if self._failures == 1:
            log.warning("broker is away, retrying", broker=self.where, connection=self._name, why=why)

    def _delay_s(self) -> float:
        # Spread by name, so that a fleet does not come back all at once.
        spread = 0.75 + self._spread % 1000 / 2000
        rounds = (self._failures - 1) // len(self._urls)
        return min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(rounds, 10)) * spread


async def _close(connection: AbstractConnection) -> None:
    with suppress(*FAILURES):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await connection.close()


def _cancelled_by_us() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
