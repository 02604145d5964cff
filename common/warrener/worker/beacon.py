"""What a worker tells gossip of itself: a tag of the member beside it, for whoever looks at the pool.

One tag a worker, `w:<name>` = `<kind> <site> <boot> <state> <free>/<slots> <load>`, then `-<n>` if it keeps n slots
empty; a member's tags have 512 bytes together. The scheduler does not depend on it: heartbeats say the same and more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from warrener.errors import GossipUnavailable, Refused
from warrener.gossip import Gossip
from warrener.worker.identity import Identity

EVERY_S = 5.0
"""How often the tag may change; each change travels through the whole pool."""

log = structlog.get_logger("warrener.worker")


class Beacon:
    """Keeps the tag of one worker up to date for as long as it runs, and takes it away in the end."""

    def __init__(self, gossip: Gossip, who: Identity, status: Callable[[], str]) -> None:
        self._gossip, self._who, self._status = gossip, who, status
        self._said = False

    async def run(self) -> None:
        shown: str | None = None
        try:
            while True:
                text = self._text()
                if text != shown and await self._tell(text):
                    shown = text
                await asyncio.sleep(EVERY_S)
        finally:
            if shown is not None:
                await self._tell(None)

    def _text(self) -> str:
        who = self._who
        return f"{who.kind} {who.site.name} {who.boot} {self._status()}"

    async def _tell(self, text: str | None) -> bool:
        try:
            await self._gossip.tell({f"w:{self._who.name}": text})
        except (GossipUnavailable, Refused) as error:
            if not self._said:
                log.warning("gossip does not hear of this worker", worker=self._who.name, error=str(error))
            self._said = True
            return False
        self._said = False
        return True
