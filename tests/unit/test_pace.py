"""How much a round of the scheduler takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from warrener.broker import Delivery
from warrener_services.scheduler.inlet import A_ROUND, Inlet, Pace


def delivery(name: str, priority: int = 4) -> Delivery:
    return Delivery("q", "x", "k", "submit/1", b"{}", name, False, priority, None, None, {}, name)


def test_rounds_grow_while_they_are_short_and_shrink_after_a_long_one() -> None:
    pace = Pace()
    limits = []
    for _ in range(8):
        limits.append(pace.submissions(0.0))
        pace.learn(submissions=limits[-1], seconds=0.001)
    assert limits == [1, 2, 4, 8, 16, 32, 64, 64]
    pace.learn(submissions=3, seconds=0.5)
    assert pace.submissions(0.0) == 32
    pace.learn(submissions=3, seconds=0.001)  # it was short, and there was nothing more to take
    assert pace.submissions(0.0) == 32


def test_rounds_are_brief_for_a_while_after_something_urgent() -> None:
    pace = Pace()
    for _ in range(4):
        pace.learn(submissions=pace.submissions(0.0), seconds=0.001)
    pace.took([delivery("a"), delivery("b")], 10.0)
    assert (pace.messages(10.0), pace.submissions(10.0)) == (A_ROUND, 16)
    pace.took([delivery("a"), delivery("b", priority=9)], 10.0)
    assert (pace.messages(10.1), pace.submissions(10.1)) == (1, 1)
    assert (pace.messages(11.0), pace.submissions(11.0)) == (A_ROUND, 16)


class Given:
    """A subscription that hands out what it was given, once."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._left = [deliveries]
        self.settled: list[Delivery] = []

    async def take(self, limit: int) -> Sequence[Delivery]:
        if self._left:
            return self._left.pop()
        return await asyncio.get_running_loop().create_future()

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        self.settled.extend(deliveries)


async def test_the_more_urgent_go_first_and_equals_keep_their_order() -> None:
    given: Any = Given([delivery("a"), delivery("b"), delivery("c", 9), delivery("d", 0), delivery("e", 9)])
    news = asyncio.Event()
    inlet = Inlet(given, news)
    taking = asyncio.create_task(inlet.run())
    await news.wait()
    taking.cancel()
    first, rest = inlet.pick(3), inlet.pick(10)
    assert [one.message_id for one in (*first, *rest)] == ["c", "e", "a", "b", "d"]
    assert not inlet
    await inlet.settle(first)
    assert given.settled == first
