"""Slots, and the orders that wait for them: the more urgent first, else first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from warrener.broker import MAX_PRIORITY
from warrener.messages import Order
from warrener.worker.work import Bundle, Waiting


class Slots:
    """How much of a worker's capacity is taken, and what waits for it.

    `most`: what the count may grow to, where it changes (see `warrener.worker.several`).
    """

    def __init__(self, count: int, most: int | None = None) -> None:
        self.count = count
        self.meant = count
        """What the count will be once enough of what runs has ended; more comes only from outside."""
        self.most = count if most is None else most
        self.free = count
        """Below zero when an earlier life, with more slots, left more than fits."""
        self._by_load = 0
        self._limit: int | None = None
        self.freed: Callable[[], None] = lambda: None
        """Called when slots become free."""
        self.room = asyncio.Event()
        """Set while another order could start at once: of one slot, or of what `expect` says."""
        self._expected = 1
        self._waiting: dict[int, deque[Waiting]] = {priority: deque() for priority in range(MAX_PRIORITY, -1, -1)}
        self._wanted = 0
        """Slots that the waiting need together."""
        self.note_room()

    @property
    def open(self) -> int:
        """How many slots new work may take now; below zero while more is taken than may be."""
        return self.free - self.withheld

    @property
    def withheld(self) -> int:
        """How many slots are kept empty: begun work goes on in them, and nothing new takes them."""
        by_limit = 0 if self._limit is None else self.count - self._limit
        return max(min(self._by_load, self.count), by_limit, 0)

    def restrain(self, *, by_load: int, limit: int | None) -> None:
        """Keep so many slots empty from now on, and fill no more than the limit, however the count changes."""
        self._by_load, self._limit = by_load, limit
        self.note_room()

    def offer(self, bundle: Bundle, orders: Iterable[Order]) -> None:
        for order in orders:
            self._waiting[order.priority].append(Waiting(order, bundle, order.ref))
            self._wanted += self._need(order)
        self.note_room()

    def next(self, known: Callable[[Waiting], bool], *, direct_only: bool = False) -> Waiting | None:
        """Take the next order that fits, and its slots; those that `known` has dealt with are passed over."""
        while (line := next(filter(None, self._waiting.values()), None)) is not None:
            item = line[0]
            need = self._need(item.order)
            if item.bundle.returned or known(item):
                line.popleft()
                self._wanted -= need
                continue
            if need > self.open or (direct_only and not is_direct(item)):
                break
            line.popleft()
            self._wanted -= need
            self.take(item.order)
            item.bundle.begun = True
            return item
        self.note_room()
        return None

    def take_back(self) -> list[Bundle]:
        """Give up what waits, but for the rest of a direct bundle that has begun: given back, it might run twice."""
        bundles: dict[int, Bundle] = {}
        self._wanted = 0
        for priority, line in self._waiting.items():
            kept = deque(item for item in line if item.bundle.direct and item.bundle.begun)
            bundles |= {id(item.bundle): item.bundle for item in line if not (item.bundle.direct and item.bundle.begun)}
            self._waiting[priority] = kept
            self._wanted += sum(self._need(item.order) for item in kept)
        self.note_room()
        return list(bundles.values())

    @property
    def needed(self) -> int:
        """How many slots the next of what waits needs; 1 when nothing does."""
        line = next(filter(None, self._waiting.values()), None)
        return self._need(line[0].order) if line else 1

    def expect(self, need: int) -> None:
        """Let `room` be that for an order of so many slots."""
        self._expected = need
        self.note_room()

    def close(self) -> None:
        """Let nothing start any more."""
        for line in self._waiting.values():
            line.clear()
        self._wanted = 0

    def take(self, order: Order) -> None:
        self.free -= self._need(order)
        self.note_room()

    def release(self, order: Order) -> None:
        self.free += self._need(order)
        self.freed()
        self.note_room()

    @property
    def offered(self) -> int:
        """How many slots schedulers may reckon with: those that are about to go count no more."""
        return min(self.count, self.meant)

    def part(self) -> int:
        """Part with the free slots that are not meant to stay; return how many."""
        parted = max(0, min(self.count - self.meant, self.free))
        self.grow(-parted)
        return parted

    def grow(self, number: int) -> None:
        self.count += number
        self.free += number
        self.note_room()

    def note_room(self) -> None:
        if self.open >= self._wanted + self._expected:
            self.room.set()
        else:
            self.room.clear()

    def _need(self, order: Order) -> int:
        # What weighs more than the whole worker takes the whole worker.
        return min(max(order.weight, 1), self.most)


def is_direct(item: Waiting) -> bool:
    """Tell whether an order may start without a claim."""
    return item.bundle.direct and item.order.token is not None
