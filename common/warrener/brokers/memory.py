"""The broker within one process: what `warrener.broker` promises, without server, threads or timers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import cast
from weakref import WeakValueDictionary

from warrener.broker import Delivery, Lost, Message, Queue
from warrener.brokers.memory_node import MemoryNode, MemoryQueue, Stored, deliver
from warrener.brokers.publishing import check_publishable, unroutable
from warrener.errors import BrokerUnavailable

_YIELD_AFTER = 64
"""Calls that could be answered at once before the loop's other tasks get their turn."""

_nodes: WeakValueDictionary[str, MemoryNode] = WeakValueDictionary()


class MemoryBroker:
    """A connection to an in-process broker; without a node given, to a new one of its own."""

    def __init__(self, node: MemoryNode | None = None) -> None:
        self.node = node or MemoryNode()
        self._subscriptions: dict[MemorySubscription, None] = {}
        self._closed = False
        self._unyielding = 0

    @classmethod
    def connect(cls, url: str) -> MemoryBroker:
        """Join the in-process broker of this URL; it lives as long as somebody is connected."""
        node = _nodes.get(url)
        if node is None:
            node = _nodes[url] = MemoryNode()
        return cls(node)

    async def declare(self, queues: Iterable[Queue]) -> None:
        self._check_open()
        for queue in queues:
            self.node.declare(queue, self)

    async def publish(self, message: Message) -> None:
        self._check_open()
        check_publishable(message)
        await self._yield_sometimes()
        queues = self.node.route(message.exchange, message.routing_key)
        if not queues and message.mandatory:
            raise unroutable(message)
        deliver(queues, message, self.node.numbers)

    async def subscribe(
        self, queues: Sequence[Queue], *, prefetch: int, lost: Lost | None = None
    ) -> MemorySubscription:
        """Declare these queues and consume them; `lost` hears nothing, for nobody can delete one that is consumed."""
        del lost
        self._check_open()
        declared = [self.node.declare(queue, self) for queue in queues]
        subscription = MemorySubscription(self.node, declared, prefetch=prefetch, closed=self._forget)
        self._subscriptions[subscription] = None
        return subscription

    async def ready(self) -> bool:
        return not self._closed

    def trouble(self) -> str:
        return "this connection to the in-process broker was closed" if self._closed else ""

    def renew(self, why: str) -> None:
        """Change nothing: within a process there is nothing that could look healthy and not work."""

    async def close(self) -> None:
        self._closed = True
        while self._subscriptions:
            await self._subscriptions.popitem()[0].close()
        for queue in self.node.owned_by(self):
            self.node.delete(queue)

    def _forget(self, subscription: MemorySubscription) -> None:
        self._subscriptions.pop(subscription, None)

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerUnavailable("this connection to the in-process broker was closed")

    async def _yield_sometimes(self) -> None:
        self._unyielding += 1
        if self._unyielding >= _YIELD_AFTER:
            self._unyielding = 0
            await asyncio.sleep(0)
            self._check_open()


class MemorySubscription:
    """A flow of deliveries from the queues of a `MemoryNode`."""

    def __init__(
        self,
        node: MemoryNode,
        queues: Sequence[MemoryQueue],
        *,
        prefetch: int,
        closed: Callable[[MemorySubscription], object],
    ) -> None:
        """`closed` is told of its end."""
        self._node = node
        self._on_closed = closed
        self._queues = queues
        self._prefetch = prefetch
        self._filled: dict[MemoryQueue, None] = {queue: None for queue in queues if len(queue)}
        self._unsettled: dict[int, tuple[MemoryQueue, Stored]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused = False
        self._closed = False
        self._unyielding = 0
        for queue in queues:
            queue.consumers.append(self)

    async def take(self, limit: int) -> Sequence[Delivery]:
        await self._yield_sometimes()
        while True:
            self._check_open()
            taken = self._pull(min(limit, self._room))
            if taken:
                self._unyielding += len(taken)
                return taken
            await self._wait()

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._unsettled.pop(cast("int", delivery.tag), None)
        self._wake_if_filled()

    async def give_back(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            held = self._unsettled.pop(cast("int", delivery.tag), None)
            if held is not None:
                queue, stored = held
                queue.put_back(stored)
        self._wake_if_filled()

    async def pause(self) -> None:
        self._paused = True
        self._pass_on()

    async def resume(self) -> None:
        self._paused = False
        self._wake_if_filled()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._on_closed(self)
        for queue in self._queues:
            queue.consumers.remove(self)
            queue.touch()
        for queue, stored in self._unsettled.values():
            queue.put_back(stored)
        self._unsettled.clear()
        for queue in self._queues:
            if queue.exclusive:
                self._node.delete(queue)
        while self._waiting:
            _finish(self._waiting.popleft())
        self._pass_on()

    def notice(self, queue: MemoryQueue) -> None:
        self._filled[queue] = None

    def wake(self) -> bool:
        if self._paused or self._room <= 0:
            return False
        while self._waiting:
            if _finish(self._waiting.popleft()):
                return True
        return False

    @property
    def _room(self) -> int:
        return self._prefetch - len(self._unsettled)

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerUnavailable("this subscription was closed")

    def _pull(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        if self._paused:
            return taken
        while len(taken) < limit and self._filled:
            queue = next(iter(self._filled))
            stored = queue.pull()
            if stored is None:
                del self._filled[queue]
                continue
            number = next(self._node.numbers)
            self._unsettled[number] = (queue, stored)
            taken.append(_delivery(queue, stored, number))
        self._take_turns()
        return taken

    def _take_turns(self) -> None:
        """Let the next `take` begin at another queue, and others have what is left."""
        if self._filled:
            queue = next(iter(self._filled))
            if len(queue):
                queue.wake()
            if len(self._filled) > 1:
                del self._filled[queue]
                self._filled[queue] = None

    async def _wait(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                if waiting in self._waiting:  # else it was passed over by a waker meanwhile
                    self._waiting.remove(waiting)
            else:
                self._pass_on()  # it was woken for a message that somebody else should have now
            raise
        self._unyielding = 0

    def _wake_if_filled(self) -> None:
        if self._filled:
            self.wake()

    def _pass_on(self) -> None:
        for queue in self._queues:
            if len(queue):
                queue.wake()

    async def _yield_sometimes(self) -> None:
        if self._unyielding >= _YIELD_AFTER:
            self._unyielding = 0
            await asyncio.sleep(0)


def _finish(waiting: asyncio.Future[None]) -> bool:
    if waiting.done():
        return False
    waiting.set_result(None)
    return True


def _delivery(queue: MemoryQueue, stored: Stored, number: int) -> Delivery:
    message = stored.message
    return Delivery(
        queue.name,
        message.exchange,
        message.routing_key,
        message.kind,
        message.body,
        message.message_id,
        stored.redelivered,
        message.priority,
        message.reply_to,
        message.correlation_id,
        message.headers,
        number,
    )
