"""The in-process broker behind a network: messages get lost, doubled, delayed and reordered, connections break.

What stays true is what `warrener.broker` promises: a confirmed durable message is in its queues (or on its way there),
an unsettled delivery comes back when its connection is gone, a lost connection heals by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from random import Random
from typing import Any

from simulation.faults import Faults
from simulation.loop import Life, SimLoop
from simulation.trace import Trace
from warrener.broker import Delivery, Message, Queue
from warrener.brokers.memory import MemoryBroker, MemorySubscription
from warrener.brokers.memory_node import MemoryNode, deliver
from warrener.brokers.publishing import check_publishable, unroutable
from warrener.errors import BrokerUnavailable, QueueFull

OUTSIDE = Context()
"""For timers that belong to no life."""


class Hub:
    """The broker itself and its network; outlives every life."""

    def __init__(self, loop: SimLoop, rng: Random, faults: Faults, trace: Trace) -> None:
        self.loop, self.rng, self.faults, self.trace = loop, rng, faults, trace
        self.node = MemoryNode()
        self.up = True
        self.links: list[SimBroker] = []

    def connect(self, life: Life) -> SimBroker:
        link = SimBroker(self, life)
        self.links.append(link)
        return link

    def push(self, message: Message) -> None:
        """Let a message arrive now."""
        deliver(self.node.route(message.exchange, message.routing_key), message, self.node.numbers)

    def push_later(self, message: Message, delay_s: float) -> None:
        if message.durable or self.up:
            self.loop.call_later(delay_s, self._push_if_taken, message, context=OUTSIDE)

    def _push_if_taken(self, message: Message) -> None:
        with suppress(QueueFull):  # its publisher has long gone on
            self.push(message)

    def outage(self) -> None:
        """Crash: what is not durable is gone, connections break, nobody can connect."""
        self.trace.add("broker", "outage")
        self.up = False
        for link in self.links:
            link.cut(None)
        for queue in list(self.node._queues.values()):
            kept = [stored for stored in iter(queue.pull, None) if stored.message.durable]
            for stored in kept:
                queue.push(stored)

    def restart(self) -> None:
        self.trace.add("broker", "restart")
        self.up = True
        for link in self.links:
            link.heal(self.rng.uniform(0, 3))

    def delete_some_queue(self) -> None:
        names = sorted(name for name, queue in self.node._queues.items() if not queue.exclusive)
        if names:
            self.delete(self.rng.choice(names))

    def delete(self, name: str) -> None:
        queue = self.node._queues[name]
        self.trace.add("broker", "delete", name, len(queue))
        self.node.delete(queue)
        for link in self.links:
            if link.consumes(name):
                link.cut(self.rng.uniform(0, 2))

    def bury(self, link: SimBroker, after_s: float) -> None:
        """Notice, sooner or later, that a client is dead."""
        self.links.remove(link)
        self.loop.call_later(after_s, link.drop, context=OUTSIDE)

    def durable_left(self) -> dict[str, int]:
        """Count what waits in the queues that outlive their programs."""
        queues = sorted(self.node._queues.items())
        return {name: len(queue) for name, queue in queues if len(queue) and not queue.exclusive}


class SimBroker:
    """One life's connection."""

    def __init__(self, hub: Hub, life: Life) -> None:
        self._hub, self._life = hub, life
        self._rng = hub.rng
        self._link: MemoryBroker | None = MemoryBroker(hub.node) if hub.up else None
        self._linked = asyncio.Event()
        if self._link is not None:
            self._linked.set()
        self._subscriptions: list[SimSubscription] = []
        self._closed = False
        self._cuts = 0

    # ── what the network does ────────────────────────────────────────────────────────────────────────────────

    def cut(self, back_after_s: float | None) -> None:
        """Break the connection: what is unsettled goes back to its queue."""
        if self._link is None:
            return
        self._hub.trace.add(self._life, "cut")
        self.drop()
        if back_after_s is not None:
            self.heal(back_after_s)

    def drop(self) -> None:
        link, self._link = self._link, None
        self._linked.clear()
        self._cuts += 1
        if link is not None:
            _at_once(link.close())

    def heal(self, after_s: float) -> None:
        self._hub.loop.call_later(after_s, self._heal, context=OUTSIDE)

    def _heal(self) -> None:
        if self._link is not None or self._closed or not self._hub.up or self._life.dead:
            return
        self._link = MemoryBroker(self._hub.node)
        for subscription in self._subscriptions:
            subscription.renew(self._link)
        self._linked.set()

    def consumes(self, queue: str) -> bool:
        return any(queue == known.name for subscription in self._subscriptions for known in subscription.queues)

    # ── what the program sees ────────────────────────────────────────────────────────────────────────────────

    async def declare(self, queues: Iterable[Queue]) -> None:
        await (await self._open()).declare(queues)

    async def publish(self, message: Message) -> None:
        check_publishable(message)
        rng, faults = self._rng, self._hub.faults
        await self._open()
        fate = rng.random()
        if fate < faults.publish_lost:
            self._hub.trace.add(self._life, "lost", message.kind, message.routing_key)
            await asyncio.sleep(rng.choice((0.0, 0.5, 5.0)))
            raise BrokerUnavailable("the simulated network lost a message")
        cuts = self._cuts
        self._arrive(message)
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.001, 0.01)))
        if fate < faults.publish_lost + faults.publish_unsure:
            await asyncio.sleep(rng.choice((0.0, 0.5, 5.0)))
            raise BrokerUnavailable("the simulated network lost a confirm")
        if cuts != self._cuts:
            raise BrokerUnavailable("the simulated connection broke before the confirm")

    def _arrive(self, message: Message) -> None:
        rng, faults = self._rng, self._hub.faults
        if not self._hub.node.route(message.exchange, message.routing_key):
            if message.mandatory:
                raise unroutable(message)
            return
        copies = 2 if rng.random() < faults.doubled else 1
        for _ in range(copies):
            if rng.random() < faults.delayed:
                self._hub.push_later(message, rng.choice((0.01, 0.2, 2.0, 8.0, 25.0)) * rng.random())
            else:
                self._hub.push(message)
        self._hub.trace.add(self._life, "publish", message.kind, message.routing_key, message.message_id, copies)

    async def subscribe(self, queues: Sequence[Queue], *, prefetch: int, lost: object = None) -> SimSubscription:
        link = await self._open()
        subscription = SimSubscription(self, self._hub, list(queues), prefetch)
        subscription.renew(link)
        self._subscriptions.append(subscription)
        return subscription

    async def ready(self) -> bool:
        return self._link is not None

    def trouble(self) -> str:
        return "" if self._link is not None else "the simulated broker cannot be reached"

    def renew(self, why: str) -> None:
        self.drop()
        self.heal(0.1)

    async def close(self) -> None:
        self._closed = True
        for subscription in list(self._subscriptions):
            await subscription.close()
        self.drop()

    async def linked(self) -> None:
        await self._linked.wait()

    def forget(self, subscription: SimSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    async def _open(self) -> MemoryBroker:
        await asyncio.sleep(self._rng.choice((0.0, 0.0, 0.001, 0.02)))
        if self._link is None:
            await asyncio.sleep(self._rng.choice((0.0, 0.3, 2.0)))
        if self._link is None:
            raise BrokerUnavailable("the simulated broker cannot be reached")
        return self._link


class SimSubscription:
    """A subscription that goes on over reconnections."""

    def __init__(self, broker: SimBroker, hub: Hub, queues: list[Queue], prefetch: int) -> None:
        self._broker, self._hub = broker, hub
        self.queues, self._prefetch = queues, prefetch
        self._inner: MemorySubscription | None = None
        self._paused = False
        self._closed = False

    def renew(self, link: MemoryBroker) -> None:
        self._inner = _at_once(link.subscribe(self.queues, prefetch=self._prefetch))
        if self._paused:
            _at_once(self._inner.pause())

    async def take(self, limit: int) -> Sequence[Delivery]:
        while True:
            await self._broker.linked()
            if self._closed or self._inner is None:
                raise BrokerUnavailable("this simulated subscription was closed")
            inner = self._inner
            try:
                return await inner.take(limit)
            except BrokerUnavailable:
                if self._closed:
                    raise
                if inner is self._inner:
                    await asyncio.sleep(0.01)

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        some = list(deliveries)
        if not some:
            return
        if self._hub.rng.random() < self._hub.faults.settle_cut:
            self._broker.cut(self._hub.rng.uniform(0, 4))
        inner = self._inner
        await asyncio.sleep(self._hub.rng.choice((0.0, 0.0, 0.001)))
        if inner is not None and not self._closed:
            await inner.settle(some)

    async def give_back(self, deliveries: Iterable[Delivery]) -> None:
        if self._inner is not None:
            await self._inner.give_back(deliveries)

    async def pause(self) -> None:
        self._paused = True
        if self._inner is not None:
            await self._inner.pause()

    async def resume(self) -> None:
        self._paused = False
        if self._inner is not None:
            await self._inner.resume()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._broker.forget(self)
        if self._inner is not None:
            await self._inner.close()


def _at_once(coro: Coroutine[Any, Any, Any]) -> Any:
    """Run what never really waits."""
    try:
        coro.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the in-process broker was not expected to wait here")
