"""Sending for a worker: bodies become messages, and an outage is said once, not at every try."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from random import Random
from typing import TypeVar

import structlog

from warrener.broker import MAX_BODY_BYTES, Broker, Delivery, Message
from warrener.errors import BrokerUnavailable, Unroutable
from warrener.ids import new_token
from warrener.messages import Body, encode
from warrener.runtime.crash import crash_point
from warrener.topology import PARKED

_MAX_REASON = 1000

T = TypeVar("T")
log = structlog.get_logger("warrener.worker")


def backoff_s(tries: int, rng: Random, *, first_s: float, longest_s: float) -> float:
    """Return how long to wait after this many failures (from 1): doubled each time, spread by a quarter."""
    return float(min(first_s * 2 ** min(tries - 1, 30), longest_s) * rng.uniform(0.75, 1.25))


class Post:
    """The way out of a worker."""

    def __init__(self, broker: Broker, rng: Random) -> None:
        self._broker = broker
        self._rng = rng
        self._away = False
        self._nowhere: set[str] = set()

    async def send(
        self,
        exchange: str,
        key: str,
        body: Body,
        *,
        durable: bool = True,
        mandatory: bool = True,
        expires: timedelta | None = None,
    ) -> bool:
        """Publish a body; return whether the broker has it. An outage is logged at its beginning and its end."""
        return await self._publish(
            Message(
                exchange, key, body.KIND, encode(body), new_token(self._rng),
                durable=durable, mandatory=mandatory, expires=expires,
            )
        )  # fmt: skip

    async def park(self, delivery: Delivery, reason: str) -> None:
        """Put a copy of what cannot be used where people find it; tries until the broker has it."""
        headers: Mapping[str, str] = {
            **delivery.headers,
            "reason": " ".join(reason.split())[:_MAX_REASON],
            "origin_exchange": delivery.exchange,
            "origin_routing_key": delivery.routing_key,
            "origin_kind": delivery.kind,
        }
        log.warning("parked a message", queue=delivery.queue, kind=delivery.kind, reason=reason)
        tries = 0
        while not await self._publish(
            Message(PARKED, "", delivery.kind, delivery.body[:MAX_BODY_BYTES], new_token(self._rng), headers=headers)
        ):
            tries += 1
            await asyncio.sleep(backoff_s(tries, self._rng, first_s=1, longest_s=30))
        crash_point("worker.parked")

    async def persist(self, what: Callable[[], Awaitable[T]]) -> T:
        """Repeat something that needs the broker until it succeeds.

        That proves no broker, as a subscription may begin without one: its return is told by what is sent.
        """
        tries = 0
        while True:
            try:
                result = await what()
            except BrokerUnavailable as error:
                tries += 1
                self._say_away(error)
                await asyncio.sleep(backoff_s(tries, self._rng, first_s=0.5, longest_s=10))
            else:
                return result

    async def _publish(self, message: Message) -> bool:
        try:
            await self._broker.publish(message)
        except Unroutable as error:
            if message.routing_key not in self._nowhere:
                self._nowhere.add(message.routing_key)
                log.warning("nobody listens", exchange=message.exchange, key=message.routing_key, error=str(error))
            return False
        except BrokerUnavailable as error:
            self._say_away(error)
            return False
        self._nowhere.discard(message.routing_key)
        self._say_back()
        return True

    def _say_away(self, error: BrokerUnavailable) -> None:
        if not self._away:
            log.warning("the broker does not answer; going on, and trying again", error=str(error))
        self._away = True

    def _say_back(self) -> None:
        if self._away:
            log.info("the broker answers again")
        self._away = False
