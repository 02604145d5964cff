"""A flow of deliveries over a RabbitMQ channel, which is opened anew when it, or its connection, is lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
from aio_pika.abc import AbstractConnection
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.header import ContentHeader

from warrener.broker import Delivery, Lost, Queue
from warrener.brokers.amqp_errors import FAILURES, explain, translated
from warrener.brokers.amqp_link import Link
from warrener.brokers.amqp_topology import declare_queues, open_channel
from warrener.brokers.ending import end, stop_if_cancelled
from warrener.errors import BrokerUnavailable

_RETRY_DELAY_S = 1.0
_A_QUEUE_S = 0.5
"""How much longer each queue may take to be declared: a busy broker that has lost all of them makes many anew."""
_LOOK_EVERY_S = 10.0
_DEAF_LOOKS = 2
_GONE = "no queue"
"""What the broker says of a queue that does not exist; one whose node is down is NOT_FOUND too, but will be back."""
_CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


class AmqpSubscription:
    """Made by `RabbitMQ.subscribe`. A call concerns the channel of its time: an older one's tags are void."""

    def __init__(
        self,
        link: Link[AbstractConnection],
        queues: Sequence[Queue],
        *,
        prefetch: int,
        timeout_s: float,
        quorum: bool = False,
        lost: Lost | None = None,
        closed: Callable[[AmqpSubscription], object],
    ) -> None:
        """`closed` is told of its end."""
        self._link = link
        self._queues = {queue.name: queue for queue in queues}
        self._prefetch = prefetch
        self._timeout_s = timeout_s
        self._patience_s = timeout_s + _A_QUEUE_S * len(self._queues)
        self._quorum = quorum
        self._lost = lost
        self._on_closed = closed
        self._count = 0  # of deliveries, ever
        self._channel: Channel | None = None
        self._consuming: set[str] = set()  # queues; a consumer's tag is the name of its queue
        self._arrived: deque[DeliveredMessage] = deque()
        self._unsettled: dict[int, None] = {}  # tags that were taken, ascending
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._broken = asyncio.Event()
        self._paused = False
        self._closed = False
        self._told = ""  # the last failure that was logged: each is told once
        self._first_try: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._run(), name=f"subscription to {', '.join(self._queues)}")

    async def started(self) -> None:
        """Wait for the first try to declare and consume, but not for ever; raises what was wrong with it."""
        await asyncio.wait([self._first_try], timeout=self._timeout_s)
        if self._first_try.done():
            self._first_try.result()
        else:
            self._first_try.set_result(None)  # what goes wrong from now on is logged

    async def take(self, limit: int) -> Sequence[Delivery]:
        while True:
            if self._closed:
                raise BrokerUnavailable("this subscription was closed")
            count = min(limit, len(self._arrived), self._prefetch - len(self._unsettled))
            if count > 0:
                return [self._hand_out(self._arrived.popleft()) for _ in range(count)]
            self._news.clear()
            await self._news.wait()

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        await self._finish(deliveries, requeue=False)

    async def give_back(self, deliveries: Iterable[Delivery]) -> None:
        await self._finish(deliveries, requeue=True)

    async def pause(self) -> None:
        self._paused = True
        async with self._on_the_wire() as channel:
            if channel is not None:
                await self._stop_consuming(channel)

    async def resume(self) -> None:
        self._paused = False
        async with self._on_the_wire() as channel:
            if channel is not None and not self._consuming:
                await self._start_consuming(channel)

    async def close(self) -> None:
        self._closed = True
        self._news.set()
        await end(self._life)
        self._on_closed(self)

    @asynccontextmanager
    async def _on_the_wire(self) -> AsyncIterator[Channel | None]:
        """Have the channel alone, for a while: one that fails or is stuck is left, and everything goes back with it.

        On a connection that just ended the library waits for ever for its own writer, or cancels whoever waits.
        """
        try:
            with translated("using a channel"):
                async with asyncio.timeout(self._timeout_s), self._lock:
                    yield self._channel
        except BrokerUnavailable:
            self._broken.set()

    # ── the life of the channel ─────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while True:
            connection = await self._link.get()
            try:
                await self._live(connection)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # otherwise the library cancelled its own waiters, because the connection broke
            except (BrokerUnavailable, *FAILURES) as error:
                self._tell_failure(error)
                if isinstance(error, TimeoutError):
                    self._link.drop("a channel did not answer in time")
                await asyncio.sleep(_RETRY_DELAY_S)
            except Exception:  # a surprise must not end the subscription
                log.exception("subscription failed unexpectedly", queues=list(self._queues))
                await asyncio.sleep(_RETRY_DELAY_S)

    async def _live(self, connection: AbstractConnection) -> None:
        """Open a channel, declare, consume, and return when the channel is of no use any more."""
        self._broken.clear()
        channel: Channel | None = None
        try:
            async with asyncio.timeout(self._patience_s):
                await self._look_for_lost(connection)
                channel = await open_channel(connection)
                # The library's own would begin a task for every delivery, only to end it at once.
                channel._on_deliver_frame = partial(self._on_deliver, channel)  # type: ignore[method-assign]  # noqa: SLF001
                channel.closing.add_done_callback(lambda _: self._broken.set())
                channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
                await declare_queues(channel, self._queues.values(), quorum=self._quorum)
                await channel.basic_qos(prefetch_count=self._prefetch)
                async with self._lock:
                    self._channel = channel
                    if not self._paused:
                        await self._start_consuming(channel)
            stop_if_cancelled()
            self._tell_success()
            await self._watch(channel)
        finally:
            self._channel = None
            self._consuming.clear()
            self._arrived.clear()
            self._unsettled.clear()
            self._news.set()  # there may be room again
            if channel is not None:
                await self._leave(channel)

    async def _look_for_lost(self, connection: AbstractConnection) -> None:
        """Tell of durable queues that are not there: whoever had something in them has to know."""
        if self._lost is None:
            return
        channel: Channel | None = None
        for queue in self._queues.values():
            if queue.exclusive:
                continue
            if channel is None:
                channel = await open_channel(connection)  # of its own: the broker closes it at each that is missing
            try:
                await channel.queue_declare(queue.name, passive=True)
            except ChannelNotFoundEntity as error:
                if _GONE in explain(error):
                    self._lost(queue.name)
                channel = None
        if channel is not None:
            await channel.close()

    def _on_cancelled(self, frame: spec.Basic.Cancel | spec.Basic.CancelOk) -> None:
        """Hear that the broker ended a consumer: its queue was deleted, or went away with its node."""
        queue = self._queues.get(frame.consumer_tag or "")
        if isinstance(frame, spec.Basic.Cancel) and queue is not None and not queue.exclusive and self._lost:
            self._lost(queue.name)
        self._broken.set()

    async def _watch(self, channel: Channel) -> None:
        """Wait until the channel is of no use any more; look by ourselves now and then, and do not only believe.

        Raises what is wrong: a queue that is gone, a channel that does not answer, or deliveries that stay away.
        """
        deaf = 0
        while not await self._broken_soon():
            before = self._count
            async with asyncio.timeout(self._patience_s):
                waiting = sum([await _messages_in(channel, name) for name in self._queues])
            could_take = self._consuming and not self._arrived and not self._unsettled
            deaf = deaf + 1 if waiting and could_take and self._count == before else 0
            if deaf >= _DEAF_LOOKS:
                raise BrokerUnavailable(f"{waiting} messages wait and none is delivered; consuming anew")

    async def _broken_soon(self) -> bool:
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._broken.wait()
        except TimeoutError:
            return False
        return True

    async def _leave(self, channel: Channel) -> None:
        """Close a channel: the unsettled go back. An exclusive queue goes with its subscription."""
        with suppress(*FAILURES):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                if self._closed and not channel.is_closed:
                    for queue in self._queues.values():
                        if queue.exclusive:
                            await channel.basic_cancel(queue.name)
                            await channel.queue_delete(queue.name)
                await channel.close()

    async def _start_consuming(self, channel: Channel) -> None:
        for name in self._queues:
            self._consuming.add(name)
            await channel.basic_consume(name, _unheard, consumer_tag=name)

    async def _stop_consuming(self, channel: Channel) -> None:
        for name in sorted(self._consuming):
            await channel.basic_cancel(name)
        self._consuming.clear()
        while self._arrived:
            number = self._arrived.pop().delivery_tag or 0
            await channel.basic_nack(number, requeue=True, wait=False)

    async def _on_deliver(self, channel: Channel, frame: spec.Basic.Deliver) -> None:
        header = await channel._get_frame()  # noqa: SLF001
        assert isinstance(header, ContentHeader)
        message = await channel._read_content(frame, header)  # noqa: SLF001
        if channel is self._channel:
            self._count += 1
            self._arrived.append(message)
            self._news.set()

    # ── settling ────────────────────────────────────────────────────────────────────────────────────────

    async def _finish(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        tags = [delivery.tag for delivery in deliveries]
        # One at a time keeps the order on the wire: "all up to 5" after "all up to 8" would close the channel.
        async with self._on_the_wire() as channel:
            numbers = {
                tag.number
                for tag in tags
                if isinstance(tag, _Tag) and tag.channel is channel and tag.number in self._unsettled
            }
            if channel is None or not numbers:
                return
            await self._finish_numbers(channel, numbers, requeue=requeue)
        self._news.set()

    async def _finish_numbers(self, channel: Channel, numbers: set[int], *, requeue: bool) -> None:
        prefix = []
        for number in self._unsettled:  # in ascending order
            if number not in numbers:
                break
            prefix.append(number)
        if prefix:
            await _answer(channel, prefix[-1], multiple=len(prefix) > 1, requeue=requeue)
            for number in prefix:
                self._unsettled.pop(number, None)
        for number in sorted(numbers.difference(prefix)):
            await _answer(channel, number, multiple=False, requeue=requeue)
            self._unsettled.pop(number, None)

    def _hand_out(self, message: DeliveredMessage) -> Delivery:
        number = message.delivery_tag or 0
        self._unsettled[number] = None
        properties = message.header.properties
        headers = properties.headers
        return Delivery(
            message.consumer_tag or "",
            message.exchange or "",
            message.routing_key or "",
            properties.message_type or "",
            message.body,
            properties.message_id or "",
            bool(message.redelivered),
            properties.priority or 0,
            properties.reply_to,
            properties.correlation_id,
            {key: _text(value) for key, value in headers.items()} if headers else {},
            _Tag(message.channel, number),
        )

    # ── telling ─────────────────────────────────────────────────────────────────────────────────────────

    def _tell_success(self) -> None:
        self._told = ""
        if not self._first_try.done():
            self._first_try.set_result(None)

    def _tell_failure(self, error: BaseException) -> None:
        if isinstance(error, BrokerUnavailable) and not self._first_try.done():
            self._first_try.set_exception(error)
        elif self._link.up and self._told != explain(error):  # of a lost connection the link tells
            self._told = explain(error)
            log.warning("cannot consume, retrying", queues=list(self._queues), why=self._told)


async def _messages_in(channel: Channel, queue: str) -> int:
    """Return how many messages wait in a queue."""
    answer = await channel.queue_declare(queue, passive=True)
    return answer.message_count or 0


async def _unheard(message: DeliveredMessage) -> None:
    """Stand in the library's list of consumers; deliveries go past it."""


class _Tag:
    """A delivery's number means something on its own channel only."""

    __slots__ = ("channel", "number")

    def __init__(self, channel: AbstractChannel, number: int) -> None:
        self.channel = channel
        self.number = number


async def _answer(channel: Channel, number: int, *, multiple: bool, requeue: bool) -> None:
    if requeue:
        await channel.basic_nack(number, multiple=multiple, requeue=True, wait=False)
    else:
        await channel.basic_ack(number, multiple=multiple, wait=False)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
