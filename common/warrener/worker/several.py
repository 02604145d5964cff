"""A worker of several kinds: one budget of slots, which moves to where the backlog is.

Each kind is a worker of its own to the schedulers, with its own name and queues; what they have in common is a budget.
Schedulers tell their demand; the rule of `warrener.dividing` says what each should have; a slot moves when it is free,
so what runs is never interrupted, and heartbeats offer less at once where slots are about to go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from random import Random

import structlog

from warrener.broker import Broker
from warrener.dividing import Bounds, Want, divide, first_division, wrong_bounds
from warrener.errors import BrokerUnavailable, InvalidMessage, InvalidSettings
from warrener.messages import DEMAND_BELIEVED_S, Demand, decode
from warrener.topology import control
from warrener.worker.service import WorkerService

SETTLE = timedelta(seconds=3)
"""How long after a shift the next one may come, by default: schedulers and their demand must follow first."""

_LOOK_S = 0.5
_AGAIN_S = 1.0
_PREFETCH = 100

log = structlog.get_logger("warrener.worker")


class Several:
    """A budget of slots, and the workers that live on it. Raises InvalidSettings for bounds that cannot be kept."""

    def __init__(
        self,
        lanes: Mapping[str, Bounds],
        budget: int,
        *,
        settle: timedelta = SETTLE,
        rng: Random,
        now_s: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
    ) -> None:
        wrong = wrong_bounds(lanes, budget)
        if wrong is not None:
            raise InvalidSettings(f"--kinds: {wrong}")
        self._lanes, self._settle, self._rng, self._now_s = dict(lanes), settle, rng, now_s
        self._first = first_division(lanes, budget)
        self._members: dict[str, WorkerService] = {}
        self._words: dict[str, tuple[float, Demand]] = {}
        self._next_s = float("-inf")
        self._complete = asyncio.Event()

    def slots(self, lane: str) -> tuple[int, int]:
        """Return with how many slots a lane begins, and how many it may come to have."""
        return self._first[lane], min(self._lanes[lane].most, sum(self._first.values()))

    def join(self, lane: str, member: WorkerService) -> None:
        """Let a worker live on the budget from now on."""
        self._members[lane] = member
        member.slots.freed = self._settle_up
        if self._members.keys() == self._lanes.keys():
            self._complete.set()

    async def run(self, broker: Broker) -> None:
        """Move slots for ever, once all workers are there."""
        await self._complete.wait()
        await asyncio.gather(*(member.up.wait() for member in self._members.values()))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(broker))
            tasks.create_task(self._look())

    async def _hear(self, broker: Broker) -> None:
        who = next(iter(self._members.values())).who
        queue = control(f"{who.name}.{who.boot}.demand", "demand")
        while True:
            try:
                subscription = await broker.subscribe([queue], prefetch=_PREFETCH)
            except BrokerUnavailable:
                await asyncio.sleep(_AGAIN_S)
                continue
            try:
                while True:
                    deliveries = await subscription.take(_PREFETCH)
                    for delivery in deliveries:
                        try:
                            self.hear(decode(delivery.kind, delivery.body, Demand))
                        except InvalidMessage as error:
                            log.warning("dropped what is no demand", reason=str(error), kind=delivery.kind)
                    await subscription.settle(deliveries)
            except BrokerUnavailable:
                await asyncio.sleep(_AGAIN_S)
            finally:
                await subscription.close()

    def hear(self, word: Demand) -> None:
        """Take in what a scheduler says."""
        now_s = self._now_s()
        self._words[word.scheduler] = now_s, word
        self._words = {name: kept for name, kept in self._words.items() if now_s - kept[0] < DEMAND_BELIEVED_S}

    async def _look(self) -> None:
        while True:
            self.shift()
            await asyncio.sleep(_LOOK_S)

    def shift(self) -> None:
        """Decide anew, if it is time, and move what is free."""
        now_s = self._now_s()
        if now_s < self._next_s:
            return
        meant = {lane: member.slots.meant for lane, member in self._members.items()}
        divided = divide(meant, self._lanes, self._wants(now_s), chance=self._rng.random())
        if divided == meant:
            return
        self._next_s = now_s + self._settle.total_seconds() * self._rng.uniform(1, 1.5)
        log.info("slots shift to where the backlog is", **{lane: f"{meant[lane]}→{divided[lane]}" for lane in divided})
        for lane, slots in divided.items():
            self._members[lane].slots.meant = slots
        self._settle_up()
        for lane in divided:
            if divided[lane] != meant[lane]:
                self._members[lane].resized()

    def _wants(self, now_s: float) -> dict[str, Want]:
        """Add up what the schedulers said of our lanes; silence counts as no demand, and so moves nothing by itself."""
        words = [word for at_s, word in self._words.values() if now_s - at_s < DEMAND_BELIEVED_S]
        able = {lane: member for lane, member in self._members.items() if member.takes_work}
        return {lane: _want(lane, words, member.who.site.name) for lane, member in able.items()}

    def _settle_up(self) -> None:
        """Hand the slots that their lanes can part with to those that are meant to have more."""
        loose = sum(member.slots.part() for member in self._members.values())
        for member in self._members.values():
            taken = max(0, min(member.slots.meant - member.slots.count, loose))
            if taken:
                loose -= taken
                member.slots.grow(taken)
                member.resized()
        assert loose == 0, "what is parted with is meant for somebody"


def _want(lane: str, words: list[Demand], site: str) -> Want:
    of_lane = [word.lanes[lane] for word in words if lane in word.lanes]
    return Want(
        wanted=max(0, sum(one.in_flight + one.queued - one.elsewhere(site) for one in of_lane)),
        slots=max((word.slots.get(lane, 0) for word in words), default=0),
        heaviest=max((one.heaviest for one in of_lane), default=1),
    )
