"""The loop: rounds of deliveries, each a tick, its commit, what it sends, and the settling of what it took.

    pick ─▶ tick ─▶ commit ─▶ send ─▶ settle
                pick ─▶ tick ─▶ commit ─▶ send ─▶ settle

Two rounds overlap: while the database writes for one, the next thinks, if there is something to think about. When a
round fails, the one that was built on it fails as well; then the book is read anew, and their messages are handled one
after another, so that a bad one cannot hurt the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from warrener.broker import Delivery
from warrener.clock import Clock
from warrener.errors import Fenced, StoreUnavailable, Unavailable, Undone
from warrener.store import Changes, Store, Transaction

from .crash_points import crash_point
from .emitter import Emitter
from .engine import Effects, Engine
from .inlet import Inlet, Pace

log = structlog.get_logger(__name__)

_OVERLAP = 2
_STRIKES = 3
_PATIENCE_S = 90.0
"""How long a round may take: longer than the database and the broker let anybody wait."""


@dataclass(frozen=True, slots=True)
class _Round:
    """What a round took, when it began, and its task. `thought`: its tick is done, and the next one may begin."""

    arrived: list[Delivery]
    submissions: list[Delivery]
    thought: asyncio.Event
    task: asyncio.Task[None]
    begun_s: float

    @property
    def deliveries(self) -> list[Delivery]:
        return [*self.arrived, *self.submissions]


class Rounds:
    """The rounds of one session; `news` is set when one of the inlets has something."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        clock: Clock,
        emitter: Emitter,
        *,
        reported: Inlet,
        submitted: Inlet,
        news: asyncio.Event,
        load: Callable[[], Awaitable[object]],
    ) -> None:
        """`load` reads the book anew."""
        self._engine, self._store, self._clock, self._emitter = engine, store, clock, emitter
        self._reported, self._submitted, self._news, self._load = reported, submitted, news, load
        self._pace = Pace()
        self._under_way: deque[_Round] = deque()

    async def run(self, until: asyncio.Event) -> None:
        """Go round until told to end (and woken by `news`), then finish what is under way.

        Raises Unavailable or Fenced when nothing but a new session helps.
        """
        try:
            while self._under_way or not until.is_set():
                with suppress(TimeoutError):
                    # The end of a round is news as well.
                    async with asyncio.timeout(_PATIENCE_S if self._under_way else self._until_look_s()):
                        await self._news.wait()
                self._news.clear()
                self._give_up_what_hangs()
                while self._under_way and self._under_way[0].task.done():
                    await self._finish(self._under_way.popleft())
                if len(self._under_way) < _OVERLAP:
                    await self._emitter.room(until)
                    if not until.is_set():
                        await self._begin()
        finally:
            for one in self._under_way:
                one.task.cancel()
            await asyncio.gather(*(one.task for one in self._under_way), return_exceptions=True)

    def _give_up_what_hangs(self) -> None:
        """Raise StoreUnavailable when a round does not end, whatever keeps it: a new session begins from the store."""
        for one in self._under_way:
            if not one.task.done() and asyncio.get_running_loop().time() - one.begun_s > _PATIENCE_S:
                raise StoreUnavailable(f"a round has not come to its end in {_PATIENCE_S:.0f} s; it is given up")

    def _until_look_s(self) -> float:
        look_at = self._engine.book.look_at
        return 1.0 if look_at is None else max(0.0, (look_at - self._clock.now()).total_seconds())

    async def _begin(self) -> None:
        """Begin a round, if there is something to do; return when its tick is done."""
        now_s = asyncio.get_running_loop().time()
        submissions = self._submitted.pick(self._pace.submissions(now_s))
        self._pace.took(submissions, now_s)
        arrived = self._reported.pick(self._pace.messages(now_s))
        if not arrived and not submissions and (self._under_way or self._until_look_s() > 0):
            return
        if self._reported or self._submitted:
            self._news.set()
        thought = asyncio.Event()
        task = asyncio.create_task(self._go(arrived, submissions, thought))
        task.add_done_callback(lambda _: self._ended(thought))
        self._under_way.append(_Round(arrived, submissions, thought, task, now_s))
        await thought.wait()

    def _ended(self, thought: asyncio.Event) -> None:
        thought.set()
        self._news.set()

    async def _go(self, arrived: list[Delivery], submissions: list[Delivery], thought: asyncio.Event) -> None:
        begun_s = asyncio.get_running_loop().time()
        if any(one.task.done() and not _went_well(one.task) for one in self._under_way):
            raise Undone("the round before it failed after this one was begun")  # the book is ahead of the store
        await self._tick([*arrived, *submissions], thought)
        self._pace.learn(submissions=len(submissions), seconds=asyncio.get_running_loop().time() - begun_s)
        await self._settle(arrived, submissions)

    async def _settle(self, arrived: list[Delivery], submissions: list[Delivery]) -> None:
        if arrived or submissions:
            crash_point("scheduler.before-settle")
            await self._reported.settle(arrived)
            await self._submitted.settle(submissions)
            crash_point("scheduler.after-settle")

    async def _tick(
        self, deliveries: Sequence[Delivery], thought: asyncio.Event | None = None, *, look: bool = True
    ) -> None:
        sent, now = self._emitter.take_confirmed(), self._clock.now()
        crash_point("scheduler.before-commit")

        def work(tx: Transaction) -> tuple[Effects, Changes]:
            done = self._engine.tick(tx, deliveries, sent, now, look=look)
            if thought is not None and _on_a_loop():
                thought.set()  # a store that works in a thread of its own lets nothing overlap
            return done

        try:
            effects = await self._store.apply(work)
        except BaseException:
            self._emitter.give_back(sent)
            raise
        crash_point("scheduler.after-commit")
        self._emitter.emit(effects.posted, effects.loose)

    # ── when something fails ─────────────────────────────────────────────────────────────────────────────────

    async def _finish(self, one: _Round) -> None:
        """See how a round ended. Where it failed, wait for the one behind it, and handle both once more."""
        try:
            await one.task
        except (Unavailable, Fenced):
            raise
        except Exception as error:  # noqa: BLE001 - told, or raised, when its messages are handled once more
            behind = list(self._under_way)
            self._under_way.clear()
            await asyncio.gather(*(other.task for other in behind), return_exceptions=True)
            await self._handle_failed(error, one.deliveries)
            await self._settle(one.arrived, one.submissions)
            for other in behind:
                if other.task.exception() is not None:
                    await self._handle(other.deliveries)
                    await self._settle(other.arrived, other.submissions)

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        try:
            await self._tick(deliveries)
        except (Unavailable, Fenced):
            raise
        except Exception as error:  # noqa: BLE001 - told there
            await self._handle_failed(error, deliveries)

    async def _handle_failed(self, error: Exception, deliveries: Sequence[Delivery]) -> None:
        """Leave aside the row that a tick failed at, if it was one; else find the message that it failed at."""
        culprit = self._engine.blame()
        await self._load()
        if culprit is not None:
            log.error("cannot do what is due; leaving it aside for a while", row=str(culprit), exc_info=error)
            await self._handle(deliveries)
            return
        log.error("a tick failed; trying its messages one by one", messages=len(deliveries), exc_info=error)
        if not deliveries:
            raise StoreUnavailable(f"the scheduler's own round failed: {_sentence(error)}") from error
        for delivery in deliveries:
            await self._handle_alone(delivery)

    async def _handle_alone(self, delivery: Delivery) -> None:
        """Try one message three times, then park it with its reason."""
        reason = ""
        for _ in range(_STRIKES):
            try:
                await self._tick([delivery], look=False)
            except (Unavailable, Fenced):
                raise
            except Exception as error:
                reason = _sentence(error)
                log.exception("a message failed", kind=delivery.kind, message_id=delivery.message_id)
                await self._load()
            else:
                return
        now = self._clock.now()
        await self._store.apply(lambda _: self._engine.park(delivery, reason, now))


def _went_well(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__
