"""Where deliveries wait for the next tick, and how many of them it takes.

Finish before you begin: reports free slots and end runs, so a tick takes all that are there; of the submissions, which
the broker keeps safe meanwhile, it takes as many as leave it short.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable
from typing import NamedTuple

from warrener.broker import MAX_PRIORITY, Delivery, Subscription

_AT_ONCE = 1_000
_BYTES_AT_ONCE = 8 * 1024 * 1024
"""What is read takes many times the memory of its text."""
_SHORT_S = 0.04
_MOST = 64
_URGENT_S = 0.5
_BRIEF = 1

A_ROUND = 200
"""How many messages a round takes at most, besides submissions: a bound for the length of a transaction."""


class _Waiting(NamedTuple):
    minus_priority: int
    number: int
    delivery: Delivery


class Inlet:
    """The deliveries of a subscription, the more urgent first, as many as its prefetch lets be there.

    `run` is its life and belongs into a task; `news` is set whenever something came.
    """

    def __init__(self, subscription: Subscription, news: asyncio.Event) -> None:
        self._subscription, self._news = subscription, news
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Take deliveries in until cancelled; raises BrokerUnavailable when the subscription was closed."""
        while True:
            for delivery in await self._subscription.take(_AT_ONCE):
                heapq.heappush(self._waiting, _Waiting(-delivery.priority, next(self._numbers), delivery))
            self._news.set()

    def pick(self, limit: int) -> list[Delivery]:
        """Return what comes first, fewer of large ones; it must be settled when it was handled."""
        picked: list[Delivery] = []
        size_bytes = 0
        while self._waiting and len(picked) < limit and size_bytes < _BYTES_AT_ONCE:
            picked.append(heapq.heappop(self._waiting).delivery)
            size_bytes += len(picked[-1].body)
        return picked

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        await self._subscription.settle(deliveries)


class Pace:
    """How much a round takes.

    Long rounds are cheap for each of their messages, and an urgent submission waits for those under way. So rounds grow
    while nothing is urgent: the number of submissions is doubled while rounds stay short, and halved when one was long.
    For a while after an urgent submission they are as brief as can be.
    """

    def __init__(self) -> None:
        self._submissions = 1
        self._brief_until_s = 0.0

    def messages(self, now_s: float) -> int:
        """Return how many messages a round takes at most, besides submissions."""
        return _BRIEF if now_s < self._brief_until_s else A_ROUND

    def submissions(self, now_s: float) -> int:
        """Return how many submissions a round takes at most."""
        return 1 if now_s < self._brief_until_s else self._submissions

    def took(self, submissions: Iterable[Delivery], now_s: float) -> None:
        """See what a round took, whether it was urgent."""
        if any(delivery.priority == MAX_PRIORITY for delivery in submissions):
            self._brief_until_s = now_s + _URGENT_S

    def learn(self, *, submissions: int, seconds: float) -> None:
        """Adapt to a round that took so many submissions and lasted so long."""
        if seconds > 2 * _SHORT_S:
            self._submissions = max(1, self._submissions // 2)
        elif seconds < _SHORT_S and submissions >= self._submissions:
            self._submissions = min(_MOST, 2 * self._submissions)
