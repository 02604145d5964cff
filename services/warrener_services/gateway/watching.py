"""Long polls: whoever waits for a change of a run is woken by the run's events, and looks now and then anyway."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

FALLBACK_S = 1.0
"""How long a watcher trusts in events before it looks by itself: they may be lost, or the broker away."""


class Watch:
    """Who waits for which run."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.closed = False

    @contextmanager
    def of(self, run: str) -> Iterator[Watcher]:
        """Watch a run; what happens from here on is not missed."""
        event = asyncio.Event()
        self._watchers[run].add(event)
        try:
            yield Watcher(event)
        finally:
            self._watchers[run].discard(event)
            if not self._watchers[run]:
                del self._watchers[run]

    def happened(self, runs: Iterable[str]) -> None:
        for run in set(runs):
            for event in self._watchers.get(run, ()):
                event.set()

    def close(self) -> None:
        """End every waiting: the gateway stops."""
        self.closed = True
        self.happened(list(self._watchers))


class Watcher:
    """One waiting for one run."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def next(self, at_most_s: float) -> None:
        """Return when something happened to the run, or when it is time to look anyway."""
        try:
            async with asyncio.timeout(min(at_most_s, FALLBACK_S)):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
