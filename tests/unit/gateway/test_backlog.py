"""Accepted runs that nobody takes up are bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from warrener.errors import Overloaded
from warrener_services.gateway.backlog import Backlog

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Waiting:
    """A store that is counted."""

    def __init__(self) -> None:
        self.runs = 0
        self.counted = 0

    async def count(self, most: int) -> int:
        self.counted += 1
        return min(self.runs, most)


async def test_beyond_the_limit_no_runs_come_in_until_some_were_taken_up() -> None:
    backlog, waiting = Backlog(100), Waiting()
    for second in range(10):
        await backlog.add(10, START, waiting.count)
        waiting.runs = 10 * (second + 1)
    with pytest.raises(Overloaded, match=r"100 accepted runs wait.*WARRENER_BACKLOG.*try again in 5 s.*a scheduler"):
        await backlog.add(1, START, waiting.count)
    waiting.runs = 50
    await backlog.add(1, START + timedelta(seconds=1), waiting.count)


async def test_counting_is_done_now_and_then() -> None:
    backlog, waiting = Backlog(1000), Waiting()
    for number in range(500):
        await backlog.add(1, START + timedelta(milliseconds=number), waiting.count)
    assert waiting.counted == 1


async def test_a_full_backlog_is_refused_without_asking_the_store_each_time() -> None:
    backlog, waiting = Backlog(5), Waiting()
    waiting.runs = 9
    for _ in range(100):
        with pytest.raises(Overloaded):
            await backlog.add(1, START, waiting.count)
    assert waiting.counted == 1


async def test_what_other_gateways_accept_counts_too() -> None:
    backlog, waiting = Backlog(100), Waiting()
    await backlog.add(1, START, waiting.count)
    waiting.runs = 100
    with pytest.raises(Overloaded):
        await backlog.add(1, START + timedelta(seconds=6), waiting.count)
