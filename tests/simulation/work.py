"""What simulated workers do, and the ledger of it: which attempt began and ended where and when.

Jobs run under runners, which survive the crash and the freeze of their worker and enforce the lease, as
`warrener.targets.runner` does. Everything else runs inside its worker: it dies and freezes with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from simulation.broker import OUTSIDE
from simulation.faults import Faults
from simulation.loop import LIFE, Life, SimLoop
from simulation.trace import Trace
from warrener.errors import Cause, TaskFailed
from warrener.ids import AttemptRef, TaskRef
from warrener.messages import Kind, Order
from warrener.performer import Assignment
from warrener.site import Site
from warrener.worker import MemorySpool, Spooled

AWAKE_S = 4.0
"""How long what is done inside a worker may go on after the worker was thawed.

Its fence looks every second, and what it stops may tidy up; nothing inside a frozen process can be ended.
"""


@dataclass(eq=False)
class Doing:
    """One performance under way."""

    ref: AttemptRef
    worker: str
    life: Life | None
    """None: a runner does it."""
    assignment: Assignment | None

    @property
    def claimed(self) -> bool:
        return self.assignment is None or self.assignment.lease_until_s is not None


class Ledger:
    """Who performed what."""

    def __init__(self, loop: SimLoop, trace: Trace) -> None:
        self._loop, self._trace = loop, trace
        self.doing: dict[TaskRef, list[Doing]] = {}
        self.claimed_starts: dict[AttemptRef, str] = {}
        self.outputs: dict[AttemptRef, list[Any]] = {}
        self.numbers = 0

    def begin(self, ref: AttemptRef, worker: str, life: Life | None, assignment: Assignment | None) -> Doing:
        doing = Doing(ref, worker, life, assignment)
        self._trace.add(worker, "begin", ref, "claimed" if doing.claimed else "direct")
        if doing.claimed:
            if ref in self.claimed_starts:
                self._loop.violate(f"the claimed attempt {ref} began on {self.claimed_starts[ref]}, and on {worker}")
            self.claimed_starts[ref] = worker
        self.doing.setdefault(ref.task, []).append(doing)
        self.check(ref.task)
        return doing

    def end(self, doing: Doing, what: str) -> None:
        self._trace.add(doing.worker, "end", doing.ref, what)
        self.doing[doing.ref.task].remove(doing)
        if not self.doing[doing.ref.task]:
            del self.doing[doing.ref.task]

    def output(self, ref: AttemptRef) -> dict[str, Any]:
        """Make an output that tells which performance it is of."""
        self.numbers += 1
        output = {"attempt": str(ref), "v": self.numbers}
        self.outputs.setdefault(ref, []).append(output)
        return output

    def died(self, life: Life) -> None:
        for some in list(self.doing.values()):
            for doing in list(some):
                if doing.life is life:
                    self.end(doing, "died")

    def check(self, task: TaskRef) -> None:
        """See that one claimed attempt of a task is at work at most, as far as leases can give that."""
        at_work = [doing for doing in self.doing.get(task, ()) if doing.claimed and self._counts(doing)]
        if len(at_work) > 1:
            who = " and ".join(f"{doing.ref} on {doing.worker}" for doing in at_work)
            self._loop.violate(f"two claimed attempts of one task are at work: {who}")

    def _counts(self, doing: Doing) -> bool:
        life = doing.life
        return life is None or (not life.frozen and self._loop.now_s - life.thawed_s > AWAKE_S)


@dataclass(frozen=True)
class Act:
    """What one performance will do."""

    seconds: float
    ends: str
    tidying_s: float

    @classmethod
    def draw(cls, rng: Random, order: Order) -> Act:
        seconds = rng.choice((0.0, 0.02, 0.3, 0.3, 1.5, 1.5, 5.0, 14.0, 40.0, 40.0)) * rng.uniform(0.5, 1.0)
        ends = rng.choices(("well", "exit", "error", "hang"), (80, 10, 5, 5))[0]
        if ends == "hang" and order.timeout_s is None:
            ends = "well"
        return cls(seconds if ends != "hang" else 1e6, ends, rng.choice((0.0, 0.0, 0.1, 2.0)))


class InsidePerformer:
    """Performs calls and staging, inside the worker."""

    def __init__(self, kind: Kind, worker: str, ledger: Ledger, rng: Random) -> None:
        self.kind, self._worker, self._ledger, self._rng = kind, worker, ledger, rng

    async def perform(self, assignment: Assignment) -> Any:
        act = Act.draw(self._rng, assignment.order)
        doing = self._ledger.begin(assignment.ref, self._worker, LIFE.get(), assignment)
        what = "stopped"
        try:
            try:
                await asyncio.sleep(act.seconds)
            except asyncio.CancelledError:
                await asyncio.sleep(act.tidying_s)
                raise
            what = act.ends
            if act.ends == "exit":
                raise TaskFailed(Cause.EXIT, "it ended with code 3", exit_code=3)
            if act.ends == "error":
                raise ValueError("it raised")
            assignment.log("stdout", f"{assignment.ref} is done\n")
            return self._ledger.output(assignment.ref)
        finally:
            self._ledger.end(doing, what)

    async def extended(self, assignment: Assignment) -> None:
        pass

    async def recover(self) -> Sequence[Assignment]:
        return ()

    async def forget(self, ref: AttemptRef) -> None:
        pass


@dataclass(eq=False)
class Job:
    """A job under its runner."""

    order: Order
    token: str
    boot: Any
    lease_until_s: float
    doing: Doing
    act: Act
    ended: str | None = None
    output: Any = None
    ending: bool = False


class Runners:
    """The jobs of one worker's host."""

    def __init__(self, worker: str, loop: SimLoop, ledger: Ledger, rng: Random) -> None:
        self._worker, self._loop, self._ledger, self._rng = worker, loop, ledger, rng
        self.jobs: dict[AttemptRef, Job] = {}
        self._waiters: list[asyncio.Future[None]] = []

    def start(self, assignment: Assignment) -> Job:
        """Start a job, or join it."""
        ref, order = assignment.ref, assignment.order
        job = self.jobs.get(ref)
        if job is not None:
            return job
        act = Act.draw(self._rng, order)
        if self._lease(assignment) <= self._loop.now_s:  # its worker was frozen: the runner does not begin
            job = Job(order, assignment.token, assignment.boot, 0.0, Doing(ref, self._worker, None, None), act)
            job.ended = "lease"
            self.jobs[ref] = job
            return job
        doing = self._ledger.begin(ref, self._worker, None, None)
        job = Job(order, assignment.token, assignment.boot, self._lease(assignment), doing, act)
        self.jobs[ref] = job
        self._later(act.seconds, lambda: self._end(job, act.ends))
        if order.timeout_s is not None:
            self._later(order.timeout_s, lambda: self._end_soon(job, "timeout"))
        self._watch(job)
        return job

    def extend(self, assignment: Assignment) -> None:
        job = self.jobs.get(assignment.ref)
        if job is not None:
            job.lease_until_s = self._lease(assignment)

    def stop(self, job: Job, reason: str) -> None:
        self._end_soon(job, reason)

    async def wait(self, job: Job) -> None:
        while job.ended is None:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    @staticmethod
    def _lease(assignment: Assignment) -> float:
        if assignment.lease_until_s is None or assignment.order.on_lost != "retry":
            return float("inf")
        return assignment.lease_until_s

    def _watch(self, job: Job) -> None:
        """Enforce the lease, read anew whenever the one that is known runs out."""
        if job.ended is not None or job.lease_until_s == float("inf"):
            return
        left_s = job.lease_until_s - self._loop.now_s
        if left_s <= 0:
            self._end_soon(job, "lease")
        else:
            self._later(left_s, lambda: self._watch(job))

    def _end_soon(self, job: Job, reason: str) -> None:
        if job.ended is None and not job.ending:
            job.ending = True
            self._later(min(2.0, job.act.tidying_s), lambda: self._end(job, reason))

    def _end(self, job: Job, reason: str) -> None:
        if job.ended is not None:
            return
        job.ended = reason
        if reason == "well":
            job.output = self._ledger.output(job.doing.ref)
        self._ledger.end(job.doing, reason)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _later(self, delay_s: float, what: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, what, context=OUTSIDE)


class JobPerformer:
    """Performs jobs under runners, as `job_submission` does."""

    kind = Kind.JOB

    def __init__(self, runners: Runners, site: Site, loop: SimLoop, rng: Random) -> None:
        self._runners, self._site, self._loop, self._rng = runners, site, loop, rng

    async def perform(self, assignment: Assignment) -> Any:
        job = self._runners.jobs.get(assignment.ref)  # what an earlier life left
        try:
            await self._disk()
            job = self._runners.start(assignment)
            self._runners.extend(assignment)
            await self._runners.wait(job)
        except asyncio.CancelledError:
            if assignment.stop is not None and job is not None:
                self._runners.stop(job, assignment.stop)
                await _uninterrupted(self._runners.wait(job))
            raise
        match job.ended:
            case "well":
                return job.output
            case "exit":
                raise TaskFailed(Cause.EXIT, "it ended with code 3", exit_code=3)
            case "timeout":
                raise TaskFailed(Cause.TIMEOUT, "it ran longer than its timeout")
            case "lease" | "not yours":
                raise TaskFailed(Cause.LOST, "its lease ran out")
            case "error":
                raise TaskFailed(Cause.ERROR, "it could not be started")
        raise TaskFailed(Cause.CANCELLED, f"it was stopped: {job.ended}")

    async def extended(self, assignment: Assignment) -> None:
        await self._disk()
        self._runners.extend(assignment)

    async def recover(self) -> Sequence[Assignment]:
        await self._disk()
        return [
            Assignment(
                job.order, self._site, job.token, job.boot, job.lease_until_s, log=lambda stream, text: None
            )
            for job in self._runners.jobs.values()
        ]  # fmt: skip

    async def forget(self, ref: AttemptRef) -> None:
        await self._disk()
        job = self._runners.jobs.get(ref)
        if job is not None and job.ended is None:
            self._loop.violate(f"the job of {ref} was forgotten while it runs")
        self._runners.jobs.pop(ref, None)

    async def _disk(self) -> None:
        await asyncio.sleep(self._rng.choice((0.0, 0.0, 0.002)))


class SimSpool(MemorySpool):
    """A spool on a disk that takes its time and sometimes refuses."""

    def __init__(self, rng: Random, faults: Faults) -> None:
        super().__init__()
        self._rng, self._faults = rng, faults

    async def put(self, entries: Sequence[Spooled]) -> None:
        await self._disk()
        if self._rng.random() < self._faults.spool:
            raise OSError("the simulated disk is full")
        await super().put(entries)
        await self._disk()

    async def drop(self, refs: Sequence[AttemptRef]) -> None:
        await self._disk()
        await super().drop(refs)  # if this fails, the reports are sent again at the next start

    async def _disk(self) -> None:
        await asyncio.sleep(self._rng.choice((0.0, 0.001, 0.02)))


async def _uninterrupted(what: Any) -> None:
    task = asyncio.ensure_future(what)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
