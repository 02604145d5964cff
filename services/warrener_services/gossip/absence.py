"""A part that is away: said once when it goes and once when it is back; asked again after growing pauses."""

from __future__ import annotations

import asyncio
from random import Random

import structlog

from .ear import Ear, NoEar

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0


class Absence:
    """The presence of one part, as several tasks meet it."""

    def __init__(self, part: str, ear: Ear | None = None) -> None:
        self._part = part
        self._ear = ear or NoEar()
        self._missed_by: set[str] = set()
        self._was_met = False

    def noticed(self, by: str, error: Exception) -> None:
        """Somebody could not reach the part."""
        if not self._missed_by:
            log.warning("a part is away; trying again until it is back", part=self._part, reason=str(error))
        self._missed_by.add(by)
        self._ear.away(self._part, str(error))

    def over(self, by: str) -> None:
        """Somebody reached the part."""
        if by in self._missed_by:
            self._missed_by.remove(by)
            if not self._missed_by:
                log.info("a part is back", part=self._part)
                self._ear.back(self._part)
        elif not self._was_met and not self._missed_by:
            self._ear.back(self._part)
        self._was_met = True

    def excused(self, by: str) -> None:
        """Somebody has nothing to do with the part for now: that it was missed does not count any more."""
        if by in self._missed_by:
            self.over(by)


class Pauses:
    """Pauses between tries: each twice as long as the last one, up to ten seconds, shortened by chance."""

    def __init__(self, rng: Random, *, first_s: float = _FIRST_PAUSE_S) -> None:
        self._rng = rng
        self._first_s = first_s
        self._next_s = first_s

    def reset(self) -> None:
        """Begin with a short pause again."""
        self._next_s = self._first_s

    async def rest(self) -> None:
        """Wait for the next pause."""
        pause_s = self._next_s * self._rng.uniform(0.5, 1.0)
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)
