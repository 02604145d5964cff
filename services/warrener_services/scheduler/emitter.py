"""Publishes what committed ticks left to be said, many messages in flight at a time.

What cannot leave, because the broker is away or blocked, waits here, and a tick would add to it. So whoever ticks
waits for `room` first: the store and the queues hold what is not decided meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from warrener.broker import Broker, Lost, Message, Queue
from warrener.errors import BrokerUnavailable, Refused, Unroutable
from warrener.topology import ORDERS, REPORTS, orders, reports

from .crash_points import crash_point

log = structlog.get_logger(__name__)

MAX_UNSENT = 2_000
MAX_UNSENT_BYTES = 32 * 1024 * 1024
"""No further tick begins while so much waits to be sent; one tick may add its messages to it."""

_IN_FLIGHT = 500
_LOOK_S = 1.0
_LONG_S = 5.0
_MANY = 200
_FRESH_S = 0.5
_AGAIN_S = (0.2, 1.0, 3.0)


class Emitter:
    """Sends messages; `confirmed` collects the ids of posted ones that the broker has, for the outbox."""

    def __init__(self, broker: Broker, tasks: asyncio.TaskGroup, lost: Lost = lambda _: None) -> None:
        """`lost` hears of queues that should take something and are not there."""
        self._broker, self._tasks, self._lost = broker, tasks, lost
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._unsent = 0
        self._unsent_bytes = 0
        self._less = asyncio.Event()
        self._confirmed: list[str] = []
        self._taken_s = 0.0

    def take_confirmed(self, *, at_once: bool = False) -> list[str]:
        """Return what was confirmed: nothing while it is little and fresh, so that not every tick pays for it."""
        now_s = asyncio.get_running_loop().time()
        if not at_once and len(self._confirmed) < _MANY and now_s - self._taken_s < _FRESH_S:
            return []
        self._taken_s = now_s
        confirmed, self._confirmed = self._confirmed, []
        return confirmed

    def give_back(self, confirmed: Sequence[str]) -> None:
        """Take back what `take_confirmed` returned: it could not be committed."""
        self._confirmed.extend(confirmed)

    def emit(self, posted: Iterable[Message], loose: Iterable[Message]) -> None:
        """Begin to publish; returns at once."""
        for message in loose:
            self._begin(message, self._once(message))
        for message in posted:
            self._begin(message, self._surely(message))

    async def room(self, until: asyncio.Event) -> None:
        """Wait until another tick may add to what waits to be sent, or until told to end."""
        await self._wait(lambda: self._crowded, until)

    async def idle(self, until: asyncio.Event) -> None:
        """Wait until nothing waits to be sent, or until told to end."""
        await self._wait(lambda: self._unsent > 0, until)

    @property
    def _crowded(self) -> bool:
        return self._unsent >= MAX_UNSENT or self._unsent_bytes >= MAX_UNSENT_BYTES

    async def _wait(self, too_much: Callable[[], bool], until: asyncio.Event) -> None:
        """Wait for less; a long wait is told, with its reason."""
        told_by_s, told = asyncio.get_running_loop().time() + _LONG_S, False
        while too_much() and not until.is_set():
            self._less.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._less.wait()
            if not told and too_much() and asyncio.get_running_loop().time() >= told_by_s:
                told = True
                why = self._broker.trouble() or "it is slow"
                log.warning("waiting for the broker to take what was decided", unsent=self._unsent, why=why)
        if told and not until.is_set():
            log.info("the broker takes what was decided again")

    def _begin(self, message: Message, sending: Coroutine[Any, Any, None]) -> None:
        self._unsent += 1
        self._unsent_bytes += len(message.body)
        self._tasks.create_task(sending)

    def _left(self, message: Message) -> None:
        self._unsent -= 1
        self._unsent_bytes -= len(message.body)
        self._less.set()

    async def _once(self, message: Message) -> None:
        if message.correlation_id is not None:
            crash_point("scheduler.accepted")
        async with self._slots:
            try:
                await self._broker.publish(message)
            except (BrokerUnavailable, Refused) as error:
                log.debug(
                    "a message got lost",
                    kind=message.kind,
                    routing_key=message.routing_key,
                    reason=str(error),
                )
        self._left(message)

    async def _surely(self, message: Message) -> None:
        """Publish until the broker has it, or until there is nobody left to send it to."""
        tries = 0
        while not await self._published(message):
            await asyncio.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])
            tries += 1
        crash_point("scheduler.published")
        self._confirmed.append(message.message_id)
        self._left(message)

    async def _published(self, message: Message) -> bool:
        try:
            async with self._slots:
                await self._broker.publish(message)
        except Unroutable:
            queue = _queue_of(message)
            if queue is None:
                return True  # its worker is gone; the order's time-out places the task anew
            self._lost(queue.name)
            await self._declared(queue)
            return False
        except Refused as error:
            log.error("the broker cannot take a message", kind=message.kind, reason=str(error))
            return True
        except BrokerUnavailable:
            return False
        return True

    async def _declared(self, queue: Queue) -> None:
        try:
            await self._broker.declare([queue])
        except BrokerUnavailable as error:
            log.warning("cannot declare a queue", queue=queue.name, reason=str(error))


def _queue_of(message: Message) -> Queue | None:
    """Return the queue that should have taken a message; None if it belongs to a worker that is gone."""
    if message.exchange == ORDERS and not message.routing_key.startswith("worker."):
        return orders(message.routing_key)
    if message.exchange == REPORTS and message.routing_key.isdecimal():
        return reports(int(message.routing_key))
    return None
