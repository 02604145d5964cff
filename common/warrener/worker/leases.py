"""Leases, on the worker's side: the heartbeat asks for more time, and without an answer the work ends in time.

A lease counts from the sending of what was answered, on the clock that also runs while the host sleeps: whatever the
answer's way cost, the worker's end of the lease comes before the owner's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal

import structlog

from warrener.clock import Clock
from warrener.ids import AttemptRef
from warrener.messages import Attributes, EndedLife, Extension, Heartbeat, Held
from warrener.performer import Performer
from warrener.topology import CONTROL
from warrener.worker.identity import Identity
from warrener.worker.lives import TOLD_BEATS, Lives
from warrener.worker.lost_lanes import LostLanes
from warrener.worker.post import Post
from warrener.worker.work import Work

LONGEST_S = 10.0
"""The longest time between heartbeats, however long leases are: who is silent for longer gets less work."""

HELD_PER_HEARTBEAT = 5000
_KNOWN_HEARTBEATS = 1000
_RETRY_S = 2.0

log = structlog.get_logger("warrener.worker")


def margin_s(lease_s: float) -> float:
    """Return how long before the end of its lease the work is stopped: 5 s, less for short leases."""
    return min(5.0, max(0.5, lease_s / 6))


class Leases:
    """The attempts that this worker holds, and until when."""

    def __init__(
        self,
        who: Identity,
        post: Post,
        clock: Clock,
        performer: Performer,
        *,
        lease_s: float,
        slots: Callable[[], int],
        free: Callable[[], int],
        load: Callable[[], float],
        restraint: Callable[[], tuple[int, int | None]],
        spooled: Callable[[], Iterable[Held]],
        lives: Lives,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        attributes: Attributes,
        member: Callable[[], str | None],
    ) -> None:
        self._who = who
        self._post = post
        self._clock = clock
        self._performer = performer
        self._lease_s = lease_s
        self._slots = slots
        self._free = free
        self._load = load
        self._restraint = restraint
        self._spooled = spooled
        self._lives = lives
        self._spawn = spawn
        self._attributes = attributes
        self.digest = attributes.digest
        self._member = member
        self._describing = True
        self._lost_lanes = LostLanes(clock)
        self._seq = 0
        self._sent_s: dict[int, float] = {}
        self._last_s = float("-inf")
        self._nudged = asyncio.Event()
        self._due_now = False
        self._changed = asyncio.Event()
        self.state: Literal["up", "draining", "leaving"] = "up"
        self.held: dict[AttemptRef, Work] = {}
        self.knows_all = False
        """Whether everything that an earlier life left was found: then what is not listed is not worked on."""

    def hold(self, work: Work) -> None:
        """Keep an attempt's lease from now on."""
        self.held[work.ref] = work
        if self._lives.unproved and work.assignment.boot == self._who.boot:
            self._spawn(self._lives.prove(work.ref, work.assignment.token))
        self._nudged.set()
        self._changed.set()

    def release(self, work: Work) -> None:
        if self.held.get(work.ref) is work:
            del self.held[work.ref]

    def in_time(self, lease_until_s: float, lease_s: float) -> bool:
        """Tell whether work under this lease may (still) run."""
        return self._clock.boot_s() < lease_until_s - margin_s(lease_s)

    def heed(self, extension: Extension) -> None:
        """Move leases to what they are counted from the sending of the heartbeat that was answered."""
        sent_s = self._sent_s.get(extension.seq)
        if sent_s is None:
            return
        for part in extension.attempts:
            work = self.held.get(part.ref)
            if work is not None:
                self._extend(work, sent_s + work.order.lease_s)

    def _extend(self, work: Work, until_s: float) -> None:
        known_s = work.assignment.lease_until_s
        if known_s is None or until_s > known_s:
            work.assignment.lease_until_s = until_s
            self._spawn(self._tell_extended(work))

    async def _tell_extended(self, work: Work) -> None:
        try:
            await self._performer.extended(work.assignment)
        except Exception as error:
            log.exception("the performer did not take an extension", attempt=str(work.ref), error=str(error))

    # ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────────────

    def tell_lost(self, lane: str) -> None:
        """Tell the schedulers at once that the queue of a lane is gone."""
        self._lost_lanes.add(lane)
        self.answer_roll_call()

    def answer_roll_call(self) -> None:
        self._due_now = True
        self._nudged.set()

    def describe(self) -> None:
        """Send a heartbeat with the attributes now."""
        self._describing = True
        self.answer_roll_call()

    async def beat(self) -> None:
        """Send heartbeats for ever: at once, then every third of the shortest lease, and when a scheduler asks."""
        while True:
            self._due_now = False
            arrived = await self.send_heartbeat()
            pause_s = self._interval_s()
            await self._wait_to_beat(pause_s if arrived else min(pause_s, _RETRY_S))

    async def send_heartbeat(self) -> bool:
        self._last_s = self._clock.boot_s()
        attempts = self._attempts()
        arrived = True
        told = self.knows_all and len(attempts) <= HELD_PER_HEARTBEAT
        ended = self._lives.ended(leaving=self.state == "leaving") if told else []
        for start in range(0, max(len(attempts), 1), HELD_PER_HEARTBEAT):
            arrived = await self._send(attempts[start : start + HELD_PER_HEARTBEAT], ended) and arrived
        if ended and self._seq >= TOLD_BEATS:
            await self._lives.forget_earlier()
        return arrived

    async def _send(self, attempts: list[Held], ended: list[EndedLife]) -> bool:
        self._seq += 1
        self._sent_s[self._seq] = self._clock.boot_s()
        while len(self._sent_s) > _KNOWN_HEARTBEATS:
            del self._sent_s[next(iter(self._sent_s))]
        who, describing = self._who, self._describing
        withheld, limit = self._restraint()
        body = Heartbeat(
            worker=who.name, boot=who.boot, seq=self._seq, task_kind=who.kind, apps=list(who.apps),
            site=who.site.name, host=who.host, member=self._member(), slots=self._slots(),
            free=max(0, self._free()), load=max(0.0, self._load()), withheld=withheld, limit=limit,
            state=self.state, attempts=attempts, ended=ended,
            digest=self.digest, attributes=self._attributes if describing else None,
            lost=self._lost_lanes.told(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._interval_s()):
                arrived = await self._post.send(CONTROL, "heartbeat", body, durable=False, mandatory=False)
        except TimeoutError:
            return False
        if arrived and describing:
            self._describing = False
        return arrived

    def _attempts(self) -> list[Held]:
        """List what is held: at work, and finished but without a receipt, so that it is not placed anew meanwhile."""
        listed = {held.ref: held for held in self._spooled()}
        for work in self.held.values():
            ref = work.ref
            listed[ref] = Held(run=ref.run, n=ref.n, attempt=ref.attempt, token=work.assignment.token)
        return list(listed.values())

    async def _wait_to_beat(self, pause_s: float) -> None:
        ends_s = self._last_s + pause_s
        while not self._due_now:
            left_s = min(ends_s, self._last_s + self._interval_s()) - self._clock.boot_s()
            if left_s <= 0:
                return
            self._nudged.clear()
            try:
                async with asyncio.timeout(max(left_s, 0.001)):
                    await self._nudged.wait()
            except TimeoutError:
                pass

    def _interval_s(self) -> float:
        shortest_s = min((work.order.lease_s for work in self.held.values()), default=self._lease_s)
        return max(0.1, min(shortest_s / 3, self._lease_s / 3, LONGEST_S))

    # ── the fence ────────────────────────────────────────────────────────────────────────────────────────────────

    async def fence(self, lose: Callable[[Work], None]) -> None:
        """Call `lose`, for ever, on each attempt that comes too near to the end of its lease.

        Attempts that no copy follows (`on_lost` hold or fail) run on.
        """
        while True:
            self._changed.clear()
            left_s = self._lose_the_late(lose)
            try:
                # The loop's clock stands still while the host sleeps, the lease does not: look again every second.
                async with asyncio.timeout(None if left_s is None else max(0.01, min(left_s, 1.0))):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _lose_the_late(self, lose: Callable[[Work], None]) -> float | None:
        now_s = self._clock.boot_s()
        nearest_s: float | None = None
        for work in list(self.held.values()):
            fence_s = self._fence_s(work)
            if fence_s is None:
                continue
            if fence_s <= now_s:
                log.warning("stopped an attempt: no scheduler extended its lease", attempt=str(work.ref))
                del self.held[work.ref]
                lose(work)
            else:
                nearest_s = fence_s - now_s if nearest_s is None else min(nearest_s, fence_s - now_s)
        return nearest_s

    def _fence_s(self, work: Work) -> float | None:
        until_s = work.assignment.lease_until_s
        if until_s is None or work.order.on_lost != "retry":
            return None
        return max(until_s - margin_s(work.order.lease_s), work.fence_from_s)
