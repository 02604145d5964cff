"""The backlog: runs that are accepted, and that no scheduler has taken up yet.

They are rows and nobody's memory, but whoever comes last waits for all of them; and when no scheduler runs at all, the
disk is the only end. So beyond a limit no more are accepted. Counting is cheap and is done now and then; what this
gateway adds in between is added up, and what others add is seen at the next count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from warrener.errors import Overloaded

_COUNT_EVERY = timedelta(seconds=5)
_COUNT_FULL_EVERY = timedelta(seconds=1)
_RETRY_AFTER_S = 5.0


class Backlog:
    """What waits to be taken up, as far as this gateway knows."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known = 0
        self._counted_at: datetime | None = None
        self._counting = asyncio.Lock()

    async def add(self, runs: int, now: datetime, count: Callable[[int], Awaitable[int]]) -> None:
        """Let this many runs come in, or raise Overloaded; `count` tells how many wait, up to a number."""
        async with self._counting:
            every = _COUNT_EVERY if self._known < self._limit else _COUNT_FULL_EVERY
            if self._counted_at is None or now - self._counted_at >= every:
                self._known = await count(self._limit)
                self._counted_at = now
            if self._known >= self._limit:
                raise Overloaded(
                    f"{self._limit:,} accepted runs wait for a scheduler to take them up, and no more may"
                    f" (WARRENER_BACKLOG of the gateway); nothing was accepted, try again in {_RETRY_AFTER_S:g} s."
                    " If it stays so, see whether a scheduler runs and has its broker",
                    retry_after_s=_RETRY_AFTER_S,
                )
            self._known += runs
