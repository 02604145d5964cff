"""What a worker tells gossip of itself: a tag of the member beside it, for whoever looks at the pool.

`warrener.tags` has its form. The scheduler does not depend on it: heartbeats say the same and more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from warrener.errors import GossipUnavailable, Refused
from warrener.gossip import Gossip
from warrener.ids import WorkerName
from warrener.tags import WorkerTag, key_of, write

EVERY_S = 5.0
"""How often the tag may change; each change travels through the whole pool."""

_LOOK_EVERY = 6
"""After how many rounds the member is looked at again: an agent that was started anew has lost its tags."""

log = structlog.get_logger("warrener.worker")


class Beacon:
    """Keeps the tag of one worker up to date for as long as it runs, and takes it away in the end.

    `member` hears the name of the member beside this worker, whenever it was asked for.
    """

    def __init__(
        self,
        gossip: Gossip,
        worker: WorkerName,
        tag: Callable[[], WorkerTag],
        member: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._gossip, self._worker, self._tag, self._member = gossip, worker, tag, member
        self._key = key_of(worker)
        self._short = False
        self._said: type[Exception] | None = None

    async def run(self) -> None:
        shown: str | None = None
        rounds = 0
        try:
            while True:
                if rounds % _LOOK_EVERY == 0:
                    shown = await self._shown()
                rounds += 1
                text = write(self._tag(), short=self._short)
                if text != shown:
                    shown = await self._tell_what_fits()
                await asyncio.sleep(EVERY_S)
        finally:
            if shown is not None:
                await self._tell(None)

    async def _shown(self) -> str | None:
        """Return the tag as the agent has it now."""
        try:
            self._member(await self._gossip.own_name())
            return (await self._gossip.told()).get(self._key)
        except GossipUnavailable as error:
            self._warn(error, "gossip does not hear of this worker")
            return None

    async def _tell_what_fits(self) -> str | None:
        """Tell the tag, a short one if others take the room; return what was told."""
        for short in (False, True):
            text = write(self._tag(), short=short)
            try:
                await self._gossip.tell({self._key: text})
            except Refused as error:
                if short:
                    self._warn(
                        error,
                        "the tags of the workers beside one agent do not fit into 512 bytes; gossip does not hear of"
                        " this worker, its heartbeats say everything: give workers shorter names, or fewer one agent",
                    )
            except GossipUnavailable as error:
                self._warn(error, "gossip does not hear of this worker")
                return None
            else:
                if short and not self._short:
                    log.info("this worker's tag is a short one: others beside the agent take room", worker=self._worker)
                self._short, self._said = short, None
                return text
        return None

    async def _tell(self, text: str | None) -> None:
        try:
            await self._gossip.tell({self._key: text})
        except (GossipUnavailable, Refused) as error:
            self._warn(error, "gossip does not hear of this worker")

    def _warn(self, error: Exception, what: str) -> None:
        if self._said is not type(error):
            log.warning(what, worker=self._worker, reason=str(error))
        self._said = type(error)
