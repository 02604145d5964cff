"""One worker: takes orders, performs them, and tells their owners, until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random
from typing import Any

import structlog

from warrener import topology
from warrener.broker import Broker, Delivery, Queue
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, InvalidMessage, InvalidSettings
from warrener.ids import WorkerName, new_boot_id
from warrener.messages import Answers, Attributes, Kind, RollCall, decode
from warrener.performer import Performer
from warrener.signing import OrderVerifier
from warrener.site import Site
from warrener.tags import WorkerTag
from warrener.worker.claims import Asking
from warrener.worker.direct import DirectReports
from warrener.worker.identity import Identity
from warrener.worker.leases import Leases
from warrener.worker.lives import Lives
from warrener.worker.load import Sample, Thresholds
from warrener.worker.orders import Intake
from warrener.worker.performing import Performing
from warrener.worker.post import Post
from warrener.worker.printed import Printer
from warrener.worker.restraint import Restraint
from warrener.worker.running import Running
from warrener.worker.slots import Slots
from warrener.worker.spool import FolderSpool, Spool
from warrener.worker.spooled import SpooledReports
from warrener.worker.work import Work

DEFAULT_LEASE_S = 30.0
_LAST_WORDS_S = 3.0
_AGAIN_S = 7.0
"""When to cancel again what goes on: before Python 3.12, `asyncio.wait_for` may swallow the first time."""

log = structlog.get_logger("warrener.worker")


class WorkerService:
    """A worker of one kind. `run` once per object: a new life is a new object, with a new boot id.

    `apps` are the apps of a worker of calls. `grace_s` is how long what runs may go on after a stop; reporting takes
    up to three seconds more. `load` tells the load of the host per core, as people know it. `look_at_host` tells what
    slots are withheld by, from the `thresholds` on; without these, none are. `most_slots`: what `slots` may
    grow to.
    """

    def __init__(
        self,
        performer: Performer,
        *,
        name: str,
        kind: Kind,
        site: Site,
        slots: int,
        most_slots: int | None = None,
        broker: Broker,
        verifier: OrderVerifier,
        clock: Clock,
        rng: Random,
        host: str,
        apps: Sequence[str] = (),
        member: str | None = None,
        lease_s: float = DEFAULT_LEASE_S,
        grace_s: float = 15.0,
        spool: Spool | None = None,
        load: Callable[[], float] = lambda: 0.0,
        attributes: Attributes | None = None,
        look_at_host: Callable[[], Sample | None] = lambda: None,
        thresholds: Thresholds | None = None,
    ) -> None:
        boot = new_boot_id(clock.now(), rng)
        who = Identity(WorkerName(name), boot, kind, tuple(apps), site, slots, host, member)
        self.who = who
        self.member = member
        """The gossip member beside this worker, as far as it is known; it may become known later, or change."""
        self.up = asyncio.Event()
        """Set once orders are taken."""
        self._broker, self._load = broker, load
        self._grace_s = grace_s
        self._group: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._post = Post(broker, rng)
        self.slots = self._slots = Slots(slots, most_slots)
        self._printer = Printer(who, self._post)
        kept = spool or FolderSpool(site.spool(who.name))
        self._lives = Lives(who, kept)
        self._restraint = Restraint(
            self._slots, kept, clock, thresholds=thresholds, host=look_at_host,
            changed=self.resized,
        )  # fmt: skip
        self._spooled = SpooledReports(who, self._post, kept, performer, rng)
        self._asking = Asking(who, self._post, clock, self._spawn)
        self._leases = Leases(
            who, self._post, clock, performer, lease_s=lease_s, slots=lambda: self._slots.offered,
            free=lambda: self._slots.open, load=load,
            restraint=lambda: (self._restraint.by_load, self._restraint.limit),
            spooled=self._spooled.held, lives=self._lives, spawn=self._spawn,
            attributes=attributes or Attributes(), member=lambda: self.member,
        )  # fmt: skip
        self._intake = Intake(
            who, broker, self._post, verifier=verifier, clock=clock, rng=rng, slots=self._slots, spawn=self._spawn,
            lost=self._leases.tell_lost,
        )  # fmt: skip
        self._direct = DirectReports(who, self._post, rng, self._spawn, settled=self._settled)
        self._performing = Performing(
            who, clock, performer, self._slots, asking=self._asking, leases=self._leases, direct=self._direct,
            spooled=self._spooled, printer=self._printer, running=Running(performer), spawn=self._spawn,
            heard=self._intake.heard,
        )  # fmt: skip

    def tag(self) -> WorkerTag:
        """Say how it is, as gossip tells it."""
        who, leases = self.who, self._leases
        return WorkerTag(
            who.kind, leases.state, who.boot, max(0, self._slots.open), self._slots.count,
            site=who.site.name, load=self._load(), digest=leases.digest,
        )  # fmt: skip

    def stop(self) -> None:
        """Have `run` end as planned: the same as cancelling it."""
        self._stopping.set()

    def drain(self) -> None:
        """Take nothing more, and have `run` end as planned once nothing runs, however long that takes."""
        if self._leases.state == "up":
            self._leases.state = "draining"
            self._spawn(self._drain())

    async def _drain(self) -> None:
        log.info("worker drains: it takes nothing more, and ends with what runs", worker=self.who.name)
        self._leases.answer_roll_call()
        await self._intake.stop()
        await self._performing.idle()
        await self._direct.drain()
        await self._spooled.drain()
        self.stop()

    def resized(self) -> None:
        """Hear that more or fewer slots may be filled: tell the schedulers, and start what fits now."""
        self._leases.answer_roll_call()
        self._performing.dispatch()

    @property
    def takes_work(self) -> bool:
        """Whether it may be given work at all: it is neither draining nor drained."""
        return self._leases.state == "up" and self._restraint.limit != 0

    async def run(self) -> None:
        """Work until stopped or cancelled; a second cancellation ends it at once, as a crash would."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            parts = [group.create_task(self._start())]
            try:
                await self._stopping.wait()
            except asyncio.CancelledError:
                # Here, too, the children go on until they have said their last words.
                # A task of its own: in one that was cancelled, early Pythons 3.11 end no time-out as TimeoutError.
                await asyncio.create_task(self._end(parts))
                raise
            await self._end(parts)

    async def _start(self) -> None:
        who = self.who
        log.info("worker starts", worker=who.name, boot=who.boot, kind=str(who.kind), slots=who.slots)
        try:
            await self._lives.load()
            await self._restraint.load()
            await self._spooled.load()
        except OSError as error:
            raise InvalidSettings(
                f"WARRENER_SITE_ROOT: the spool of {who.name} below {who.site.root} cannot be used: {error}"
            ) from error
        # Before anything needs the broker: what an earlier life left is held, and fenced, also without one.
        self._leases.knows_all = await self._performing.recover()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._spooled.keep())
            parts.create_task(self._spooled.send())
            parts.create_task(self._leases.fence(self._performing.lose))
            parts.create_task(self._printer.send())
            parts.create_task(self._restraint.watch())
            parts.create_task(self._listen([topology.answers(who.name)], self._on_answers))
            control = topology.control(f"{who.name}.{who.boot}", "rollcall")
            parts.create_task(self._listen([control], self._on_control))
            parts.create_task(self._announce())
            parts.create_task(_unending(lambda: self._intake.run(self._performing, self.up.set)))

    async def _announce(self) -> None:
        """Send heartbeats for ever, once there are queues for what they cause."""
        who = self.who
        own = [topology.answers(who.name), *(topology.orders(lane) for lane in who.lanes), topology.PARKED_QUEUE]
        await self._post.persist(lambda: self._broker.declare(own))
        await self._leases.beat()

    async def _end(self, parts: list[asyncio.Task[None]]) -> None:
        """Stop in order: no new work, what runs ends, reports leave, a last heartbeat."""
        log.info("worker stops", worker=self.who.name)
        self._leases.state = "draining"
        self._leases.answer_roll_call()
        try:
            await self._intake.stop()
            await self._performing.close(self._grace_s)
            await self._last_words()
        finally:
            self._spawned.update(parts)
            while self._spawned:
                for task in self._spawned:
                    task.cancel()
                await asyncio.wait(self._spawned, timeout=_AGAIN_S)
                self._spawned = {task for task in self._spawned if not task.done()}
            await self._intake.close()
        log.info("worker stopped", worker=self.who.name)

    async def _last_words(self) -> None:
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._direct.drain()
                await self._spooled.drain()
                await self._printer.flush()
                self._leases.state = "leaving"
                await self._leases.send_heartbeat()
        except TimeoutError:
            log.warning("not everything could be reported; the spool is sent again at the next start")

    async def _listen(
        self, queues: Sequence[Queue], heed: Callable[[Delivery], Awaitable[None]], prefetch: int = 100
    ) -> None:
        while True:
            subscription = await self._post.persist(lambda: self._broker.subscribe(queues, prefetch=prefetch))
            try:
                while True:
                    deliveries = await subscription.take(prefetch)
                    for delivery in deliveries:
                        await heed(delivery)
                    await subscription.settle(deliveries)
            except BrokerUnavailable:
                await asyncio.sleep(1)
            finally:
                await subscription.close()

    async def _on_answers(self, delivery: Delivery) -> None:
        try:
            answers = decode(delivery.kind, delivery.body, Answers)
        except InvalidMessage as error:
            await self._post.park(delivery, str(error))
            return
        if answers.boot == self.who.boot:
            self._asking.heed(answers)
            for extension in answers.extensions:
                self._leases.heed(extension)
            if answers.limit is not None:
                await self._restraint.heed(answers.limit)
        for receipt in answers.receipts:
            self._spooled.heed(receipt.ref)
        for stop in answers.stops:
            self._performing.heed_stop(stop)

    async def _on_control(self, delivery: Delivery) -> None:
        if delivery.kind != RollCall.KIND:
            return
        try:
            call = decode(delivery.kind, delivery.body, RollCall)
        except InvalidMessage as error:
            log.debug("a roll call that cannot be read", reason=str(error))
            return
        if call.describe:
            if self.who.name in call.describe:
                self._leases.describe()
        else:
            self._leases.answer_roll_call()
            self._asking.again()
            self._intake.again()
            self._spooled.again()

    def _settled(self, work: Work) -> None:
        self._performing.settled(work)

    def _spawn(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Start a task under this worker; when the worker is ending at once, nothing is started any more."""
        assert self._group is not None
        try:
            task = self._group.create_task(what)
        except RuntimeError:
            what.close()
            return None
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        return task


async def _unending(what: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do what ends by cancellation only; raises when it ends by itself, also by a cancellation of its own making.

    Its group would not mind, and the worker would beat on and take nothing.
    """
    task = asyncio.current_task()
    try:
        await what()
    except asyncio.CancelledError:
        if task is None or task.cancelling():
            raise
    raise RuntimeError("the intake of orders ended by itself")
