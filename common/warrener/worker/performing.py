"""The attempts in a worker's hands: how each begins, runs, is stopped, and ends.

Two ways lead in. A *claimed* order takes its slots, asks its owner, and runs once the grant is there, if enough of the
lease is left. A *direct* call runs at once; if it is still running after a second it asks for a lease, and is a claimed
one from the grant on. Light calls come by the thousand, so one asyncio task runs them one after another; as soon as one
of them waits for something, another task goes on with the rest.

Two ways lead out: a report (into the spool when claimed, in the next batch when direct), or nothing, when the attempt
turned out not to be this worker's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import structlog

from warrener.clock import Clock
from warrener.ids import AttemptRef
from warrener.messages import Kind, Order, Refusal, Stop
from warrener.performer import Assignment, Performer
from warrener.runtime.crash import crash_point
from warrener.worker.claims import Asking, Granted
from warrener.worker.direct import DirectReports
from warrener.worker.identity import Identity
from warrener.worker.leases import Leases
from warrener.worker.printed import Printer
from warrener.worker.running import Running, unheard
from warrener.worker.slots import Slots, is_direct
from warrener.worker.spooled import SpooledReports
from warrener.worker.work import Waiting, Work, finish, give_back

LONG_CALL_S = 1.0
"""A direct call that runs longer asks for a lease."""

REMEMBERED = 50_000
"""Attempts begun in this life whose duplicates are dropped."""

_LOOK_S = 0.25
_CALLS_A_TURN = 32
_JOIN_S = 10.0

log = structlog.get_logger("warrener.worker")


class Performing:
    """Starts, watches and ends the attempts of one worker."""

    def __init__(
        self,
        who: Identity,
        clock: Clock,
        performer: Performer,
        slots: Slots,
        *,
        asking: Asking,
        leases: Leases,
        direct: DirectReports,
        spooled: SpooledReports,
        printer: Printer,
        running: Running,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None] | None],
        heard: Callable[[bool], None],
    ) -> None:
        """`heard` is told whether a scheduler answered a claim."""
        self._who = who
        self._clock = clock
        self._performer = performer
        self._slots = slots
        self._asking = asking
        self._leases = leases
        self._direct = direct
        self._spooled = spooled
        self._printer = printer
        self._running = running
        self._spawn = spawn
        self._heard = heard
        self._open: dict[AttemptRef, Work] = {}
        """Begun, and not reported or dropped yet; of claimed attempts, until the report is in `spooled`."""
        self._asked: dict[AttemptRef, Literal["cancelled", "not yours"] | None] = {}
        """Claims of orders without an answer, with the stop that came before the work could begin."""
        self._recent: dict[AttemptRef, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_question: set[asyncio.Task[None]] = set()
        self._looking = False
        self._relayed = False

    # ── beginning ────────────────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self) -> None:
        """Start whatever fits into the free slots."""
        while item := self._slots.next(self._is_known):
            if is_direct(item):
                self._start(self._run_direct(self._begin_direct(item)))
                return  # it goes on by itself
            self._asked[item.ref] = None
            self._start(self._run_claimed(item))

    async def room_for_reports(self) -> None:
        """Wait while so many reports of direct calls cannot leave that no more calls should begin."""
        await self._direct.room.wait()

    async def recover(self) -> bool:
        """Take back what an earlier life of this worker left running, or ended unreported; tell whether it could."""
        try:
            found = await self._performer.recover()
        except Exception as error:
            log.exception("cannot recover earlier attempts; their leases will run out", error=str(error))
            return False
        for assignment in found:
            if assignment.ref not in self._spooled and assignment.ref not in self._open:
                began_s = asyncio.get_running_loop().time()
                work = Work(assignment, assignment.ref, began_s, claimed=True, recovered=True)
                work.fence_from_s = self._clock.boot_s() + _JOIN_S
                self._slots.take(assignment.order)
                self._adopt(work)
                self._start(self._run_recovered(work))
        return True

    def _is_known(self, item: Waiting) -> bool:
        """Deal with an order that came before; return whether it did."""
        ref = item.ref
        work = self._open.get(ref)
        if work is not None and work.bundles and not work.claimed:
            work.bundles.append(item.bundle)  # settled with the first, when the report is confirmed
            return True
        if work is None and ref not in self._recent and ref not in self._asked and ref not in self._spooled:
            return False
        self._spawn(finish([item.bundle]))
        return True

    def _adopt(self, work: Work) -> None:
        self._open[work.ref] = work
        self._recent[work.ref] = None
        if len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]
        self._printer.connect(work)
        if work.claimed:
            self._leases.hold(work)

    def _start(self, what: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(what)
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # ── the claimed way ──────────────────────────────────────────────────────────────────────────────────────────

    async def _run_claimed(self, item: Waiting) -> None:
        try:
            work = await self._claim(item)
            if work is not None:
                await finish([item.bundle])
                crash_point("worker.settled-order")
                await self._running.perform(work)
                self._end_claimed(work)
        finally:
            self._slots.release(item.order)
            self.dispatch()

    async def _run_recovered(self, work: Work) -> None:
        try:
            await self._running.perform(work)
            self._end_claimed(work)
        finally:
            self._slots.release(work.order)
            self.dispatch()

    async def _claim(self, item: Waiting) -> Work | None:
        """Ask for the attempt; return the work if it may begin."""
        order = item.order
        answer: Granted | Refusal | None = None
        try:
            answer = await self._ask(order)
            self._heard(answer is not None)
        finally:
            stop = self._asked.pop(order.ref, None)
            if answer is None:
                await give_back([item.bundle])
        if isinstance(answer, Granted):
            crash_point("worker.granted")
            until_s = answer.claimed_s + order.lease_s
            if self._leases.in_time(until_s, order.lease_s):
                return self._granted(order, answer.token, until_s, stop)
            log.warning("a grant came too late to begin", attempt=str(order.ref))
        if answer is not None:
            await finish([item.bundle])
        return None

    async def _ask(self, order: Order) -> Granted | Refusal | None:
        task = asyncio.current_task()
        assert task is not None
        self._in_question.add(task)
        try:
            return await self._asking.ask(order)
        finally:
            self._in_question.discard(task)

    def _granted(
        self, order: Order, token: str, until_s: float, stop: Literal["cancelled", "not yours"] | None
    ) -> Work:
        assignment = Assignment(order, self._who.site, token, self._who.boot, until_s, unheard, stop)
        work = Work(assignment, order.ref, asyncio.get_running_loop().time(), claimed=True)
        self._adopt(work)
        return work

    def _end_claimed(self, work: Work) -> None:
        """Hand the report over to the spool, or drop an attempt that is not this worker's."""
        self._leases.release(work)
        self._open.pop(work.ref, None)
        if work.ending is None:
            self._spawn(self._forget(work.ref))
            return
        crash_point("worker.performed")
        report = work.ending.report(work.ref, work.assignment.token)
        self._spooled.add(report, work.assignment.boot, work.ending.bytes)

    async def _forget(self, ref: AttemptRef) -> None:
        try:
            await self._performer.forget(ref)
        except Exception as error:
            log.exception("the performer could not forget an attempt", attempt=str(ref), error=str(error))

    # ── the direct way ───────────────────────────────────────────────────────────────────────────────────────────

    async def _run_direct(self, work: Work) -> None:
        """Run direct calls, one after another, for one turn of the loop or until there are no more."""
        for left in reversed(range(_CALLS_A_TURN)):
            self._relay()
            try:
                await self._running.perform(work)
            finally:
                self._slots.release(work.order)
            self._end_direct(work)
            item = self._slots.next(self._is_known, direct_only=True) if left else None
            if item is None:
                break
            work = self._begin_direct(item)
        self.dispatch()

    def _relay(self) -> None:
        """Have the rest started in the next turn of the loop: it comes when the call that begins now waits, or ends."""
        if not self._relayed:
            self._relayed = True
            asyncio.get_running_loop().call_soon(self._take_over)

    def _take_over(self) -> None:
        self._relayed = False
        self.dispatch()

    def _begin_direct(self, item: Waiting) -> Work:
        order = item.order
        assert order.token is not None
        assignment = Assignment(order, self._who.site, order.token, self._who.boot, None, unheard)
        began_s = asyncio.get_running_loop().time()
        work = Work(assignment, item.ref, began_s, claimed=False, bundles=[item.bundle])
        self._adopt(work)
        self._look_later()
        return work

    def _end_direct(self, work: Work) -> None:
        if work.claimed:
            self._end_claimed(work)
        elif work.asking:
            return  # the answer to its claim decides what becomes of the result
        elif work.ending is None or work.assignment.stop == "not yours":
            self._drop_direct(work)
        else:
            crash_point("worker.direct-performed")
            self._direct.add(work)

    def _drop_direct(self, work: Work) -> None:
        self._open.pop(work.ref, None)
        bundles, work.bundles = work.bundles, []
        self._spawn(finish(bundles))

    def settled(self, work: Work) -> None:
        """Hear that the report of a direct call is confirmed."""
        self._open.pop(work.ref, None)

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(_LOOK_S, self._look_for_long_calls)

    def _look_for_long_calls(self) -> None:
        self._looking = False
        now_s = asyncio.get_running_loop().time()
        for work in list(self._open.values()):
            if work.claimed or work.asking or work.task is None:
                continue
            if now_s - work.began_s >= LONG_CALL_S:
                work.asking = True
                self._start(self._lease_long_call(work))
            else:
                self._look_later()

    async def _lease_long_call(self, work: Work) -> None:
        """Ask for a lease until somebody answers; the call goes on meanwhile."""
        answer = None
        while answer is None:
            answer = await self._asking.ask(work.order)
        work.asking = False
        bundles, work.bundles = work.bundles, []
        until_s = answer.claimed_s + work.order.lease_s if isinstance(answer, Granted) else 0.0
        if isinstance(answer, Granted) and self._leases.in_time(until_s, work.order.lease_s):
            self._claim_running(work, answer.token, until_s)
        else:
            self._lose_running(work)
        await finish(bundles)

    def _claim_running(self, work: Work, token: str, until_s: float) -> None:
        work.assignment.token = token
        work.assignment.lease_until_s = until_s
        work.claimed = True
        if work.over:
            self._end_claimed(work)
        else:
            self._leases.hold(work)

    def _lose_running(self, work: Work) -> None:
        log.info("stopped a long call: its attempt is another's by now", attempt=str(work.ref))
        if work.over:
            self._open.pop(work.ref, None)
        else:
            work.stop("not yours")

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────

    def heed_stop(self, stop: Stop) -> None:
        """Stop an attempt because its owner says so."""
        if stop.ref in self._asked:
            self._asked[stop.ref] = stop.reason
        work = self._open.get(stop.ref)
        if work is None or work.over or (stop.reason == "not yours" and not work.claimed):
            return
        log.info("stopping an attempt", attempt=str(stop.ref), reason=stop.reason)
        if stop.reason == "not yours":
            self._leases.release(work)
        work.stop(stop.reason)

    def lose(self, work: Work) -> None:
        """Stop an attempt whose lease is nearly over."""
        work.stop("not yours")

    async def idle(self) -> None:
        """Wait until nothing runs; whoever asks has seen to it that nothing more comes in."""
        await self._wait()

    async def close(self, grace_s: float) -> None:
        """Begin nothing more, let what runs end within the grace, then end it; jobs are left to their runners at once.

        What was not begun goes back to its queue.
        """
        await give_back(self._slots.take_back())
        for task in list(self._in_question):
            task.cancel()
        if self._who.kind is Kind.JOB:
            self._interrupt()
        try:
            async with asyncio.timeout(grace_s):
                await self._wait()
        except TimeoutError:
            log.warning("the grace is over; what still runs is ended", count=len(self._tasks))
            self._slots.close()
            for task in list(self._tasks):
                task.cancel()
            await self._wait()

    def _interrupt(self) -> None:
        for work in list(self._open.values()):
            if work.task is not None and not work.interrupted:
                work.task.cancel()

    async def _wait(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
