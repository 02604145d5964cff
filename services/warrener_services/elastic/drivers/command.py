"""Workers by commands of the user's: one is told how many there should be, one says how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from warrener_services.elastic.driver import Crew, DriverFailed
from warrener_services.elastic.rules import Command

from .asking import ask

log = structlog.get_logger(__name__)


class CommandDriver:
    """Who goes, and how, is the command's part: it is told the number alone."""

    def __init__(self, pool: str, told: Command) -> None:
        self._pool, self._told = pool, told

    @property
    def exclusive_to(self) -> str:
        return self._pool

    async def look(self) -> Crew:
        count = await self._count()
        return Crew(frozenset(f"{self._pool}-{number}" for number in range(count)), whole_lane=True)

    async def scale(self, count: int, load: Mapping[str, int]) -> None:  # noqa: ARG002 - the contract's
        await self._run(self._told.argv, count)
        log.info("told the command how many workers there should be", pool=self._pool, count=count)

    async def _count(self) -> int:
        printed = await self._run(self._told.count, 0)
        words = printed.split()
        if len(words) != 1 or not words[0].isdecimal():
            raise DriverFailed(f"`{self._told.count[0]}` printed {printed[:80]!r} and no number of workers")
        return int(words[0])

    async def _run(self, argv: Sequence[str], count: int) -> str:
        words = [word.replace("{count}", str(count)).replace("{pool}", self._pool) for word in argv]
        return await ask(words, within_s=self._told.timeout.total_seconds())
