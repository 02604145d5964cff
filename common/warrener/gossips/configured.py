"""What can change while programs run: told by the program `gossip`, followed by every program with an agent.

The table in the store is the truth. Its version and values travel in a user event, which may get lost; so the version
is also in a tag of the member that tells (`cfg`), and who sees a newer one there than its own asks. Events and answers
are signed, and an older version than the one known is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import structlog
from pydantic import Field

from warrener.errors import Forged, GossipUnavailable, InvalidMessage, Refused
from warrener.gossips.proved import proved, read_proved
from warrener.gossips.serf import SerfGossip
from warrener.messages import Body
from warrener.signing import OrderSigner, OrderVerifier

NAME = "warrener-config"
"""Of the event and of the query."""
TAG = "cfg"
LOOK_EVERY_S = 5.0
"""How often the table is read, and tags are looked at."""

_TELL_AGAIN = 12
_AGAIN_S = 1.0

log = structlog.get_logger("warrener.agent")


class Configuration(Body):
    """Everything that is configured; what is missing is as each program's own settings say."""

    KIND = "configuration/1"
    kind: Literal["configuration/1"] = "configuration/1"
    version: int = Field(ge=0)
    values: dict[str, str] = Field(default={}, max_length=100)


async def tell(gossip: SerfGossip, read: Callable[[], Awaitable[Configuration]], signer: OrderSigner) -> None:
    """Tell the pool what is configured, whenever that changes, until cancelled. `read` may not raise."""
    told = Configuration(version=0)
    rounds = 0

    async def answer() -> None:
        while True:
            try:
                await gossip.answer(NAME, lambda: proved(told, signer))
            except GossipUnavailable as error:
                log.debug("nobody can ask for the configuration", reason=str(error))
            await asyncio.sleep(_AGAIN_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        while True:
            now = await read()
            news = now.version > told.version
            told = now if news else told
            try:
                if news:
                    log.info("telling the pool a new configuration", version=now.version)
                    await gossip.announce(NAME, proved(now, signer))
                if now.version and (news or rounds % _TELL_AGAIN == 0):  # an agent that began anew has lost its tags
                    await gossip.tell({TAG: str(now.version)})
            except (GossipUnavailable, Refused) as error:
                log.warning("the configuration cannot be told; it is tried again", reason=str(error))
                rounds = -1
            rounds += 1
            await asyncio.sleep(LOOK_EVERY_S)


class Follower:
    """Follows the configuration for one program; `take` hears the values of each newer version."""

    def __init__(self, gossip: SerfGossip, verifier: OrderVerifier, take: Callable[[Mapping[str, str]], None]) -> None:
        self._gossip, self._verifier, self._take = gossip, verifier, take
        self.version = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear())
            tasks.create_task(self._look())

    async def _hear(self) -> None:
        while True:
            try:
                async for payload in self._gossip.announcements(NAME):
                    self._consider(payload)
            except GossipUnavailable as error:
                log.debug("the configuration cannot be followed", reason=str(error))
            await asyncio.sleep(_AGAIN_S)

    async def _look(self) -> None:
        while True:
            try:
                if await self._newest() > self.version:
                    for _, payload in await self._gossip.ask(NAME):
                        self._consider(payload)
            except GossipUnavailable as error:
                log.debug("the configuration cannot be asked for", reason=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _newest(self) -> int:
        """Return the newest version that a living member says it tells."""
        tags = [member.tags.get(TAG, "") for member in await self._gossip.members() if member.status == "alive"]
        return max((int(tag) for tag in tags if tag.isdecimal()), default=0)

    def _consider(self, payload: bytes) -> None:
        try:
            told = read_proved(payload, self._verifier, Configuration)
        except (Forged, InvalidMessage) as error:
            log.warning("passed over a configuration", reason=str(error))
            return
        if told.version > self.version:
            self.version = told.version
            self._take(told.values)
