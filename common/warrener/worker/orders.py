"""Taking orders in: only as many as can start soon, only from schedulers of this deployment.

While no slot is free the subscription is paused, so that what was pulled goes to another worker instead of waiting
here; the same while no scheduler answers claims. What no scheduler of this deployment signed is never run but parked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any

import structlog

from warrener import topology
from warrener.broker import Broker, Delivery, Subscription
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, Forged, InvalidMessage
from warrener.ids import shard_of
from warrener.messages import Kind, Orders, decode
from warrener.runtime.crash import crash_point
from warrener.signing import HEADER, OrderVerifier
from warrener.worker.identity import Identity
from warrener.worker.performing import Performing
from warrener.worker.post import Post, backoff_s
from warrener.worker.slots import Slots
from warrener.worker.work import Bundle, give_back

CLAIM_HEADER = "claim"
"""`1` has every order of a message claimed, whatever the body says."""

OLD = timedelta(hours=1)
"""A direct order that was issued longer ago than this is claimed."""

_TAKE_CALLS = 64
_STOP_PULLING_S = 2.0
_PATIENCE_CLAIMED_S = 0.05
_PATIENCE_CALLS_S = 0.5
_FOR_THE_HEAVY_S = 5.0
_FIRST_REST_S = 5.0
_LONGEST_REST_S = 12.0
"""15 s with its spread: schedulers reckon with the slots of a worker that rests."""

log = structlog.get_logger("warrener.worker")


class Intake:
    """The way in of orders."""

    def __init__(
        self,
        who: Identity,
        broker: Broker,
        post: Post,
        *,
        verifier: OrderVerifier,
        clock: Clock,
        rng: Random,
        slots: Slots,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        lost: Callable[[str], None],
    ) -> None:
        """`lost` hears of lanes whose queue is gone."""
        self._who = who
        self._broker = broker
        self._post = post
        self._verifier = verifier
        self._clock = clock
        self._rng = rng
        self._slots = slots
        self._spawn = spawn
        self._lost = lost
        self._reasons: set[str] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._turn = asyncio.Lock()
        self._subscription: Subscription | None = None
        self._silences = 0
        self._resting = False
        self._called = asyncio.Event()

    async def run(self, performing: Performing, subscribed: Callable[[], None]) -> None:
        """Take orders, for ever; a subscription that is lost for good is made anew."""
        queues = [topology.orders(lane) for lane in self._who.lanes]
        while True:
            subscription = await self._post.persist(
                lambda: self._broker.subscribe(queues, prefetch=self._prefetch(), lost=self._on_lost)
            )  # fmt: skip
            self._subscription = subscription
            if self._reasons:
                await subscription.pause()
            subscribed()
            try:
                await self._take_from(subscription, performing)
            except BrokerUnavailable:
                await asyncio.sleep(backoff_s(1, self._rng, first_s=1, longest_s=1))

    async def stop(self) -> None:
        """Pull no more; what is in work here can still be settled."""
        try:
            async with asyncio.timeout(_STOP_PULLING_S):
                await self._pause("stopping")
        except TimeoutError:
            log.warning("the broker did not take the pause; what comes now is given back")

    async def close(self) -> None:
        """Give back whatever is not settled."""
        if self._subscription is not None:
            await self._subscription.close()

    def heard(self, answered: bool) -> None:  # noqa: FBT001 - a callback
        """Hear whether a claim was answered; without answers, stop pulling for a while."""
        if answered:
            self._silences = 0
        elif not self._resting:
            self._resting = True
            self._called.clear()
            self._hold("silence")
            self._spawn(self._rest())

    def again(self) -> None:
        """Hear that somebody calls the roll, a scheduler that has just started perhaps: rest no longer."""
        self._called.set()

    def _on_lost(self, queue: str) -> None:
        self._lost(queue.removeprefix(topology.orders("").name))

    def _prefetch(self) -> int:
        if self._who.kind is Kind.CALL:
            return min(self._slots.most + 32, 500)
        return min(self._slots.most, 100)

    async def _take_from(self, subscription: Subscription, performing: Performing) -> None:
        while True:
            await self._flowing.wait()
            await self._wait_for_room()
            await performing.room_for_reports()
            limit = _TAKE_CALLS if self._who.kind is Kind.CALL else max(1, self._slots.open)
            deliveries = await subscription.take(limit)
            if self._reasons:
                await subscription.give_back(deliveries)  # taken just before the pause
                continue
            for delivery in deliveries:
                self._accept(delivery, subscription)
            performing.dispatch()

    def _accept(self, delivery: Delivery, subscription: Subscription) -> None:
        try:
            orders = self._checked(delivery)
        except (Forged, InvalidMessage) as error:
            self._spawn(self._park(delivery, subscription, str(error)))
            return
        crash_point("worker.ordered")
        home = shard_of(orders.orders[0].run) if orders.home is None else orders.home
        direct = self._is_direct(delivery, orders)
        bundle = Bundle(delivery, subscription, home, direct, left=len(orders.orders))
        self._slots.offer(bundle, orders.orders)

    def _checked(self, delivery: Delivery) -> Orders:
        self._verifier.check(delivery.body, str(delivery.headers.get(HEADER, "")))
        orders = decode(delivery.kind, delivery.body, Orders)
        for order in orders.orders:
            if order.task_kind is not self._who.kind:
                raise InvalidMessage(
                    f"an order of kind {order.task_kind} came to {self._who.name}, a worker of kind {self._who.kind}"
                )
        return orders

    def _is_direct(self, delivery: Delivery, orders: Orders) -> bool:
        if orders.claim or delivery.redelivered or delivery.headers.get(CLAIM_HEADER) == "1":
            return False
        return abs(self._clock.now() - orders.issued_at) < OLD

    async def _park(self, delivery: Delivery, subscription: Subscription, reason: str) -> None:
        await self._post.park(delivery, reason)
        await subscription.settle([delivery])

    # ── pausing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _wait_for_room(self) -> None:
        if self._slots.room.is_set():
            return
        patience_s = _PATIENCE_CALLS_S if self._who.kind is Kind.CALL else _PATIENCE_CLAIMED_S
        try:
            async with asyncio.timeout(patience_s):
                await self._slots.room.wait()
        except TimeoutError:
            need = self._slots.needed
            await self._pause("full")
            await self._wait_for_slots(need)
            await self._resume("full")

    async def _wait_for_slots(self, need: int) -> None:
        """Wait for as many as the order needs that goes back now and would be the first to come again; not for ever.

        Another worker may take it, and what comes then may need less.
        """
        self._slots.expect(need)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FOR_THE_HEAVY_S):
                await self._slots.room.wait()
        self._slots.expect(1)
        await self._slots.room.wait()

    async def _rest(self) -> None:
        self._silences += 1
        if self._silences == 1:
            log.warning("no scheduler answers claims; taking no orders for a while")
        await self._pause("silence")
        rest_s = backoff_s(self._silences, self._rng, first_s=_FIRST_REST_S, longest_s=_LONGEST_REST_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self._called.wait()
        self._resting = False
        await self._resume("silence")

    async def _pause(self, reason: str) -> None:
        self._hold(reason)
        async with self._turn:
            if self._subscription is not None:
                await self._subscription.pause()
            await give_back(self._slots.take_back())

    async def _resume(self, reason: str) -> None:
        async with self._turn:
            self._reasons.discard(reason)
            if self._reasons:
                return
            if self._subscription is not None:
                await self._subscription.resume()
            self._flowing.set()

    def _hold(self, reason: str) -> None:
        self._reasons.add(reason)
        self._flowing.clear()
