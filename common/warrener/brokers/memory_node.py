"""The queues of the in-process broker: routing, priorities, and what happens to a message that comes back.

Consumers pull: a message leaves its queue when it is taken, never before, so the order of priorities is exact
and a paused consumer holds nothing. There are no tasks and no timers: what has expired is dropped when met.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from warrener.broker import MAX_PRIORITY, Message, Queue
from warrener.brokers.publishing import full
from warrener.errors import BrokerUnavailable
from warrener.topology import EXCHANGES


class Consumer(Protocol):
    """Who pulls from a queue."""

    def notice(self, queue: MemoryQueue) -> None:
        """Learn that this queue may have something."""
        ...

    def wake(self) -> bool:
        """Let one waiting `take` look again; tell whether one was waiting that can take something."""
        ...


class Stored:
    """A message in a queue, or on its way to a consumer."""

    __slots__ = ("expires_at", "message", "number", "redelivered")

    def __init__(self, message: Message, number: int) -> None:
        self.message = message
        self.number = number
        self.redelivered = False
        self.expires_at = _now() + message.expires.total_seconds() if message.expires is not None else None


class MemoryQueue:
    """One queue: a lane for each priority, each in the order of arrival."""

    def __init__(self, queue: Queue, owner: object | None) -> None:
        self.name = queue.name
        self.owner = owner
        self.exclusive = queue.exclusive
        self.expires = queue.expires
        self.declared = queue
        self.max_length = queue.max_length
        self.max_bytes = queue.max_bytes
        self.refuses = queue.refuses
        self.consumers: deque[Consumer] = deque()
        self._lanes: list[deque[Stored]] = [deque() for _ in range(MAX_PRIORITY + 1)]
        self._filled = 0  # bit p is set when lane p has something
        self._length = 0
        self._bytes = 0
        self._unused_since = _now() if queue.expires is not None else 0.0

    def __len__(self) -> int:
        return self._length

    def full_for(self, message: Message) -> bool:
        """Tell whether a message is one too many, or too large for what room is left."""
        too_long = self.max_length is not None and self._length >= self.max_length
        return too_long or (self.max_bytes is not None and self._bytes + len(message.body) > self.max_bytes)

    @property
    def expired(self) -> bool:
        if self.expires is None or self.consumers:
            return False
        return _now() - self._unused_since >= self.expires.total_seconds()

    def touch(self) -> None:
        """Count the time without consumers from now."""
        if self.expires is not None:
            self._unused_since = _now()

    def push(self, stored: Stored) -> None:
        """Add a message at the end of its lane."""
        priority = stored.message.priority
        self._lanes[priority].append(stored)
        self._filled |= 1 << priority
        self._length += 1
        self._bytes += len(stored.message.body)
        self._announce()

    def put_back(self, stored: Stored) -> None:
        """Return a message to where it was: before everything of its priority that arrived later."""
        stored.redelivered = True
        priority = stored.message.priority
        lane = self._lanes[priority]
        earlier = []
        while lane and lane[0].number < stored.number:
            earlier.append(lane.popleft())
        lane.appendleft(stored)
        lane.extendleft(reversed(earlier))
        self._filled |= 1 << priority
        self._length += 1
        self._bytes += len(stored.message.body)
        self._announce()

    def pull(self) -> Stored | None:
        """Remove and return the oldest message of the highest priority."""
        while self._filled:
            priority = self._filled.bit_length() - 1
            lane = self._lanes[priority]
            stored = lane.popleft()
            self._length -= 1
            self._bytes -= len(stored.message.body)
            if not lane:
                self._filled &= ~(1 << priority)
            if stored.expires_at is None or stored.expires_at > _now():
                return stored
        return None

    def wake(self) -> None:
        """Wake one consumer that waits; in turn, so that all get their share."""
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.wake():
                return

    def _announce(self) -> None:
        for consumer in self.consumers:
            consumer.notice(self)
        self.wake()


def deliver(queues: Sequence[MemoryQueue], message: Message, numbers: Iterator[int]) -> None:
    """Put a message into its queues, which drop their oldest to make room; raises QueueFull if one refuses it."""
    for queue in queues:
        if queue.refuses and queue.full_for(message):
            raise full(queue.declared)
    for queue in queues:
        while queue.full_for(message) and queue.pull() is not None:
            pass
        queue.push(Stored(message, next(numbers)))


class MemoryNode:
    """All queues and bindings: what the connections to one in-process broker share."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self._queues: dict[str, MemoryQueue] = {}
        self._bindings: dict[str, dict[tuple[str, str], None]] = {name: {} for name in EXCHANGES}  # (key, queue)
        self._routes: dict[tuple[str, str], tuple[MemoryQueue, ...]] = {}

    def declare(self, queue: Queue, owner: object) -> MemoryQueue:
        """Make sure that a queue exists with these arguments and bindings; `owner` is the connection."""
        known = self._queues.get(queue.name)
        if known is not None and known.expired:
            self.delete(known)
            known = None
        if known is None:
            known = MemoryQueue(queue, owner if queue.exclusive else None)
            self._queues[queue.name] = known
        _check_same(known, queue, owner)
        known.touch()
        for exchange, key in queue.bindings:
            self._bindings[exchange][key, queue.name] = None
        self._routes.clear()
        return known

    def delete(self, queue: MemoryQueue) -> None:
        """Remove a queue, its bindings and its messages."""
        if self._queues.get(queue.name) is not queue:
            return
        del self._queues[queue.name]
        for bindings in self._bindings.values():
            for binding in [binding for binding in bindings if binding[1] == queue.name]:
                del bindings[binding]
        self._routes.clear()

    def owned_by(self, owner: object) -> list[MemoryQueue]:
        return [queue for queue in self._queues.values() if queue.exclusive and queue.owner is owner]

    def route(self, exchange: str, key: str) -> tuple[MemoryQueue, ...]:
        """Return the queues that a message of this exchange and routing key goes to, each once."""
        queues = self._routes.get((exchange, key))
        if queues is None:
            queues = tuple(self._queues[name] for name in dict.fromkeys(self._matching(exchange, key)))
            if queues:  # keys that lead nowhere are not remembered: there is no end of them
                self._routes[exchange, key] = queues
        for queue in queues:
            if queue.expired:
                self.delete(queue)
                return self.route(exchange, key)
        return queues

    def _matching(self, exchange: str, key: str) -> Iterator[str]:
        if exchange == "":
            yield from [key] if key in self._queues else []
            return
        kind = EXCHANGES[exchange]
        for pattern, queue in self._bindings[exchange]:
            if kind == "fanout" or pattern == key or (kind == "topic" and topic_matches(pattern, key)):
                yield queue


def topic_matches(pattern: str, key: str) -> bool:
    """Tell whether a topic pattern takes a routing key: `*` is one word, `#` any number, dots between."""
    reached = {0}  # how many words of the key may be behind us
    words = key.split(".") if key else []
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            reached = set(range(min(reached), len(words) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(words) and part in ("*", words[at])}
        if not reached:
            return False
    return len(words) in reached


def _check_same(known: MemoryQueue, queue: Queue, owner: object) -> None:
    if known.exclusive and queue.exclusive and known.owner is not owner:
        raise BrokerUnavailable(f"the queue {queue.name} belongs to another connection; close that one first")
    differences = list(_differences(known, queue))
    if differences:
        raise BrokerUnavailable(
            f"the queue {queue.name} exists with other arguments: {'; '.join(differences)}; "
            "delete it, or upgrade the other programs"
        )


def _differences(known: MemoryQueue, queue: Queue) -> Iterable[str]:
    for name in ("exclusive", "expires", "max_length", "max_bytes", "refuses"):
        is_now, wanted = getattr(known, name), getattr(queue, name)
        if is_now != wanted:
            yield f"{name} is {is_now}, wanted {wanted}"


def _now() -> float:
    return asyncio.get_running_loop().time()
