"""Three loops: one hears gossip, one publishes what is new, one hears roll calls.

The first never waits for the broker and the second never for the agent, so that either may be away for as
long as it likes. A reader that missed something gets it with the full picture, which comes at least every ten
seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import structlog

from warrener import tags
from warrener.broker import Broker, Subscription
from warrener.errors import BrokerUnavailable, GossipUnavailable
from warrener.gossip import Change, Gossip, Status
from warrener.ids import new_token
from warrener.membership import News
from warrener.topology import control

from .absence import Absence, Pauses
from .bulletin import Bulletin, Edition
from .ear import Ear, NoEar
from .handlers import bodies_of, message_of

log = structlog.get_logger(__name__)

_CALLS_AT_ONCE = 100
_CALLS_APART_S = 1.0
"""Roll calls within this time are answered together: many schedulers that start at once cost one picture."""


class GossipService:
    """Passes gossip on to whoever listens to the broker. `who` must be new for every process.

    Neither the gossip nor the broker is closed in here; who made them closes them.
    """

    def __init__(
        self,
        *,
        gossip: Gossip,
        broker: Broker,
        who: str,
        rng: Random,
        first_pause_s: float = 0.5,
        ear: Ear | None = None,
    ) -> None:
        self._gossip = gossip
        self._broker = broker
        self._rng = rng
        self._first_pause_s = first_pause_s
        self._calls = control(who, "rollcall")
        self._bulletin = Bulletin()
        self._ear = ear or NoEar()
        self._gossip_away = Absence("gossip", ear)
        self._broker_away = Absence("broker", ear)

    async def run(self) -> None:
        """Run until cancelled; what was not published by then is lost, and harmless."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear_gossip())
            group.create_task(self._publish_news())
            group.create_task(self._hear_calls())

    def addresses(self) -> Sequence[str]:
        """Return where living members are; who joins one of them joins the pool."""
        members = self._bulletin.picture.members.values()
        staying = (member for member in members if tags.ASKS not in member.tags)
        return sorted(member.address for member in staying if member.status is Status.ALIVE)

    async def _hear_gossip(self) -> None:
        pauses = self._pauses()
        while True:
            try:
                async for change in self._gossip.changes():
                    pauses.reset()
                    self._gossip_away.over("watching")
                    self._take(change)
            except GossipUnavailable as error:
                self._gossip_away.noticed("watching", error)
            self._bulletin.lose_sight()
            self._broker_away.excused("publishing")
            await pauses.rest()

    def _take(self, change: Change) -> None:
        bulletin = self._bulletin
        begins, knew_members = not bulletin.in_sight, bool(bulletin.picture.members)
        notices = bulletin.hear(change)
        self._ear.news(notices)
        if begins:
            log.info("gossip is in sight", members=len(bulletin.picture.members))
        for notice in notices:
            if knew_members and notice.news is not News.TAGS:
                log.info("a member's state changed", member=notice.member.name, news=notice.news.value)

    async def _publish_news(self) -> None:
        pauses = self._pauses()
        declared = False
        while True:
            edition = await self._bulletin.next()
            try:
                if not declared:
                    await self._broker.declare(())
                    declared = True
                await self._publish(edition)
            except BrokerUnavailable as error:
                declared = False
                if self._bulletin.in_sight:  # who has nothing to publish does not find out that the broker is back
                    self._broker_away.noticed("publishing", error)
                await pauses.rest()
                self._bulletin.ask_full()  # it holds whatever was not published
            else:
                pauses.reset()
                self._broker_away.over("publishing")

    async def _publish(self, edition: Edition) -> None:
        for body in bodies_of(edition):
            await self._broker.publish(message_of(body, message_id=new_token(self._rng)))

    async def _hear_calls(self) -> None:
        pauses = self._pauses()
        while True:
            try:
                calls = await self._broker.subscribe([self._calls], prefetch=_CALLS_AT_ONCE)
                pauses.reset()
                self._broker_away.over("listening")
                await self._answer(calls)
            except BrokerUnavailable as error:
                self._broker_away.noticed("listening", error)
            await pauses.rest()

    async def _answer(self, calls: Subscription) -> None:
        try:
            while True:
                await calls.settle(await calls.take(_CALLS_AT_ONCE))
                self._bulletin.ask_full()
                await asyncio.sleep(_CALLS_APART_S)
        finally:
            await calls.close()

    def _pauses(self) -> Pauses:
        return Pauses(self._rng, first_s=self._first_pause_s)
