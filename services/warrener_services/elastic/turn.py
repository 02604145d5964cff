"""Whose turn it is: of several elastic programs with a rule for the same pool, one acts.

Each tries to have an exclusive queue of the pool's name, which the broker gives to one connection at a time and takes
away with it. Having had it is not enough, for a lost connection is noticed late: so the program sends what it says of
the pool through that queue to itself, and acts only as long as its own words come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from warrener.broker import Broker, Subscription
from warrener.errors import BrokerUnavailable, InvalidMessage
from warrener.messages import Elastic, decode
from warrener.topology import control

HEARD_S = 5.0
"""For how long a word that came back counts."""

_AGAIN_S = 2.0
_PREFETCH = 100

log = structlog.get_logger(__name__)


class Turn:
    """The turn for one pool. `who` must be new for every process."""

    def __init__(self, turn: str, who: str, broker: Broker, now_s: Callable[[], float]) -> None:
        self._turn, self._who, self._broker, self._now_s = turn, who, broker, now_s
        self._heard_s = float("-inf")
        self._said = ""
        self.open = asyncio.Event()
        """Set while it is worth talking: the queue is ours, or was a moment ago."""

    @property
    def ours(self) -> bool:
        """Tell whether this program may act now."""
        return self._now_s() - self._heard_s < HEARD_S

    async def hold(self) -> None:
        """Try to have the turn, for ever."""
        queue = control(f"elastic.{self._turn}", "elastic")
        while True:
            try:
                subscription = await self._broker.subscribe([queue], prefetch=_PREFETCH)
            except BrokerUnavailable as error:
                self._tell(f"it is another program's turn, or the broker is away: {error}")
                await asyncio.sleep(_AGAIN_S)
                continue
            self.open.set()
            try:
                await self._hear(subscription)
            except BrokerUnavailable:
                await asyncio.sleep(_AGAIN_S)
            finally:
                self.open.clear()
                await subscription.close()

    async def _hear(self, subscription: Subscription) -> None:
        while True:
            deliveries = await subscription.take(_PREFETCH)
            for delivery in deliveries:
                try:
                    word = decode(delivery.kind, delivery.body, Elastic)
                except InvalidMessage:
                    continue
                if (word.who, word.turn) == (self._who, self._turn):
                    if not self.ours:
                        self._tell("it is this program's turn")
                    self._heard_s = self._now_s()
            await subscription.settle(deliveries)

    def _tell(self, what: str) -> None:
        if what != self._said:
            self._said = what
            log.info("whose turn a pool is", turn=self._turn, what=what)
