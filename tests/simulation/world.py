"""One seed: its fleet, its work, its faults, and its end.

Everything that happens is drawn from the seed. For a while the nemesis does its worst; then the faults stop, whoever is
down is started again, and within a bounded time every accepted run must be final and nothing may be left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulation.broker import Hub, SimBroker
from simulation.checks import Checks
from simulation.client import Client
from simulation.faults import Faults
from simulation.loop import LIFE, Life, SimLoop, Violation
from simulation.store import Disk, SimStore
from simulation.trace import Trace
from simulation.work import InsidePerformer, JobPerformer, Ledger, Runners, SimSpool
from warrener.broker import Message
from warrener.errors import BrokerUnavailable
from warrener.ids import new_token
from warrener.messages import Kind, Members, MemberSeen, encode
from warrener.signing import ClaimKey, Keys, OrderSigner, SubmitKey
from warrener.site import Site
from warrener.topology import CONTROL
from warrener.worker import WorkerService
from warrener.worker.load import Sample, Thresholds
from warrener_services.scheduler.service import SchedulerService
from warrener_services.scheduler.tick import Rules

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FINAL_WITHIN_S = 900.0
QUIET_WITHIN_S = 400.0
_SIGNER = OrderSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
_KEYS = Keys(SubmitKey(b"s" * 32), ClaimKey(b"c" * 32), _SIGNER)
_VERIFIER = _SIGNER.verifier()


@dataclass(frozen=True)
class Result:
    """What became of one seed."""

    seed: int
    violation: str | None
    digest: str
    steps: int
    virtual_s: float
    lives: int
    runs: int


class SimClock:
    """A host's clocks: its wall clock may be wrong, its boot clock counts as all do."""

    def __init__(self, loop: SimLoop, ahead: timedelta) -> None:
        self._loop, self._ahead = loop, ahead

    def now(self) -> datetime:
        return BEGIN + self._ahead + timedelta(seconds=self._loop.now_s)

    def boot_s(self) -> float:
        return self._loop.now_s


@dataclass(eq=False)
class Program:
    """A program of the fleet, through its lives."""

    name: str
    main: Callable[[Program, SimBroker, SimStore, Random], Coroutine[Any, Any, None]]
    clock: SimClock
    life: Life | None = None
    task: asyncio.Task[Any] | None = None
    broker: SimBroker | None = None
    lives: int = 0
    stopping: bool = False


class World:
    """The simulation of one seed."""

    def __init__(self, seed: int, *, show: bool = False) -> None:
        self.seed = seed
        self.rng = Random(f"world {seed}")
        self.loop = SimLoop(Random(f"order {seed}"), shuffled=self.rng.random() < 0.2)
        self.trace = Trace(self.loop.time, show=show)
        self.over = False
        self.faults = Faults.draw(self.rng)
        self.shards = self.rng.choice((1, 2, 4))
        self.disk = Disk(self.shards)
        self.ledger = Ledger(self.loop, self.trace)
        self.checks = Checks(self.loop, self.disk, self.ledger, self.trace)
        self.lease_s = self.rng.choice((12.0, 20.0, 30.0))
        self.order_timeout_s = self.rng.choice((15.0, 60.0))
        self.deletes_queues = self.rng.random() < 0.4
        self.programs: list[Program] = []
        self.spools: dict[str, SimSpool] = {}
        self.runners: dict[str, Runners] = {}
        self.load: dict[str, float] = {}
        self.lives = 0
        self._errands: list[Coroutine[Any, Any, None]] = []
        self._errand_tasks: list[asyncio.Task[Any]] = []

    # ── a whole seed ─────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> Result:
        structlog.configure(processors=[self._heard], cache_logger_on_first_use=False)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        violation: str | None = None
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._story())
            if self.loop.violation is not None:
                raise self.loop.violation
        except Violation as broken:
            violation = str(broken)
            self.trace.add("checks", "VIOLATION", violation)
        finally:
            self.over = True
            self.loop.on_step = lambda life: None
            self.loop.bury()
            asyncio.set_event_loop(None)
            self.loop.close()
            self.disk.close()
        runs = len(self.checks.accepted)
        return Result(self.seed, violation, self.trace.digest(), self.loop.steps, self.loop.now_s, self.lives, runs)

    async def _story(self) -> None:
        self.hub = Hub(self.loop, Random(f"broker {self.seed}"), self.faults, self.trace)
        self._gossip_link = self.hub.connect(Life("gossip"))
        self._people()
        for program in self.programs:
            self._start(program)
        client = self._admin = self._client()
        listening = asyncio.ensure_future(client.listen())
        self._plan_work(client)
        gossip = asyncio.ensure_future(self._gossip())
        self.loop.on_step = self._nemesis
        await asyncio.sleep(self.rng.choice((20.0, 60.0, 100.0)))
        self._calm_down()
        for task in self._errand_tasks:
            await task
        await self._until("not final", FINAL_WITHIN_S, lambda: self._ensure_final(client))
        if not self.deletes_queues:
            await self._until("confirmed submissions are not there", FINAL_WITHIN_S, lambda: self._unknown(client))
            await self._until("not final", FINAL_WITHIN_S, lambda: self._ensure_final(client))
        await self._until("left over", QUIET_WITHIN_S, self._left_over)
        gossip.cancel()
        listening.cancel()
        await asyncio.wait([gossip, listening])

    async def _until(self, what: str, within_s: float, remaining: Callable[[], Any]) -> None:
        until_s = self.loop.now_s + within_s
        while left := remaining():
            if self.loop.now_s > until_s:
                self.loop.violate(f"{what} {within_s:g} s after the faults stopped: {left}")
            await asyncio.sleep(5)

    def _unknown(self, client: Client) -> list[str]:
        return sorted(key for key in client.confirmed if not self.checks.known("tester", key))

    def _ensure_final(self, client: Client) -> list[str]:
        left = self.checks.unfinished()
        for run in self.checks.held():
            if run not in self._helped:
                self._helped.add(run)  # `on_lost: hold` waits for a person: here is one
                self._errand_tasks.append(asyncio.ensure_future(client.intend(run, "cancel")))
        return left

    def _left_over(self) -> dict[str, Any]:
        left: dict[str, Any] = dict(self.checks.left_over())
        left |= self.hub.durable_left()
        schedulers = [program.name for program in self.programs if program.name.startswith("scheduler-")]
        if uneven := self.checks.uneven(schedulers):
            left["shards"] = uneven
        left |= {f"spool {name}": list(spool.entries) for name, spool in self.spools.items() if spool.entries}
        left |= {f"jobs {name}": list(runners.jobs) for name, runners in self.runners.items() if runners.jobs}
        if self.ledger.doing:
            left["doing"] = [str(ref) for ref in self.ledger.doing]
        return left

    # ── who is there ─────────────────────────────────────────────────────────────────────────────────────────

    def _people(self) -> None:
        rng = self.rng
        self._helped: set[str] = set()
        for n in range(rng.choice((1, 2, 2, 3))):
            self._add(f"scheduler-{n}", self._scheduler)
        sites = rng.choice((["here"], ["here"], ["here", "there"]))
        for kind in (Kind.JOB, Kind.STAGE):
            for n in range(max(len(sites), rng.choice((1, 2, 2)))):
                self._add_worker(f"{kind}-{n}", kind, sites[n % len(sites)], ())
        for n in range(rng.choice((1, 2))):
            self._add_worker(f"call-{n}", Kind.CALL, "here", ("app",))

    def _add(self, name: str, main: Any) -> None:
        skew = timedelta(seconds=self.rng.choice((0.0, 0.0, self.rng.uniform(-5, 5))))
        self.programs.append(Program(name, main, SimClock(self.loop, skew)))

    def _add_worker(self, name: str, kind: Kind, site: str, apps: tuple[str, ...]) -> None:
        self.spools[name] = SimSpool(Random(f"spool {name} {self.seed}"), self.faults)
        if kind is Kind.JOB:
            rng = Random(f"jobs {name} {self.seed}")
            self.runners[name] = Runners(name, self.loop, self.ledger, rng)
        first = not any(program.name.startswith(f"{kind}-") for program in self.programs) or len(apps) == 0
        slots = self.rng.choice((2, 3, 4) if first else (1, 2, 4))  # something must be able to take two slots

        async def main(program: Program, broker: SimBroker, store: SimStore, rng: Random) -> None:
            place = Site(site, Path("/nowhere"))
            performer = (
                JobPerformer(self.runners[name], place, self.loop, rng)
                if kind is Kind.JOB
                else InsidePerformer(kind, name, self.ledger, rng)
            )
            service = WorkerService(
                performer, name=name, kind=kind, site=place, slots=slots, broker=broker, verifier=_VERIFIER,
                clock=program.clock, rng=rng, host=name, apps=apps, member=f"host-{name}", lease_s=self.lease_s,
                grace_s=10.0, spool=self.spools[name], thresholds=Thresholds(3.0, 8.0, 0.0, 0.0),
                look_at_host=lambda: Sample(self.load.get(name, 0.0), 1, 1.0),
            )  # fmt: skip
            await service.run()

        self._add(name, main)

    async def _scheduler(self, program: Program, broker: SimBroker, store: SimStore, rng: Random) -> None:
        rules = Rules(_KEYS, self.shards, timedelta(seconds=self.lease_s), timedelta(seconds=self.order_timeout_s), rng)
        service = SchedulerService(
            store=store, broker=broker, rules=rules, clock=program.clock, name=program.name,
            shard_lease=timedelta(seconds=6),
        )  # fmt: skip
        await service.run()

    def _client(self) -> Client:
        rng = Random(f"client {self.seed}")
        life = Life("client")
        return Client(
            self.hub.connect(life), self._store(rng), self.checks, key=_KEYS.submit, rng=rng, trace=self.trace,
            now=SimClock(self.loop, timedelta()).now, shards=self.shards,
        )  # fmt: skip

    def _store(self, rng: Random) -> SimStore:
        return SimStore(self.disk, rng, self.faults, self.trace, self.checks.committed)

    # ── the work ─────────────────────────────────────────────────────────────────────────────────────────────

    def _plan_work(self, client: Client) -> None:
        rng = self.rng
        number = 0
        for _ in range(rng.randint(2, 5)):
            workflow = self._workflow()
            keys = [f"key-{number + n}" for n in range(rng.choice((1, 1, 2)))]
            number += len(keys)
            errand = self._errand(client, workflow, keys, rng.uniform(0, 40))
            self._errand_tasks.append(asyncio.ensure_future(errand))

    async def _errand(self, client: Client, workflow: dict[str, Any], keys: list[str], after_s: float) -> None:
        rng = self.rng
        cancel_after_s = rng.choice((None, None, None, 0.5, 5.0, 20.0, 40.0))
        retry_after_s = rng.choice((None, None, 60.0))
        ways = rng.choice((["reply"], ["store"], ["blind"], ["reply", "reply"], ["store", "reply"]))
        await asyncio.sleep(after_s)
        await asyncio.gather(*(client.submit(workflow, keys, way) for way in ways))
        if cancel_after_s is not None:
            await asyncio.sleep(cancel_after_s)
            await client.cancel(keys[0], rng.choice(("store", "message")))
        if retry_after_s is not None:
            await asyncio.sleep(retry_after_s)
            await client.retry(keys[0])

    def _workflow(self) -> dict[str, Any]:
        rng = self.rng
        names = [f"t{n}" for n in range(rng.randint(1, 5))]
        return {
            "workflow": "sim", "version": "1",
            "tasks": {name: self._task(names[:n]) for n, name in enumerate(names)},
        }  # fmt: skip

    def _task(self, earlier: list[str]) -> dict[str, Any]:
        rng = self.rng
        needs = [name for name in earlier if rng.random() < 0.3]
        task: dict[str, Any] = {"needs": needs} if needs else {}
        match rng.choice(("job", "job", "call", "call", "once", "stage")):
            case "job":
                task["job"] = {"argv": ["true", *(f"{{{{ tasks.{name}.output.v }}}}" for name in needs)]}
            case "stage":
                task["stage"] = [{"from": "file:/tmp/x", "to": "x"}]
            case kind:
                args = {name: f"{{{{ tasks.{name}.output.v }}}}" for name in needs}
                task["call"] = {"function": "app.f", "args": args} | ({"once": True} if kind == "once" else {})
        if rng.random() < 0.5:
            task["retry"] = {"count": rng.randint(1, 3), "delay": rng.choice(("100ms", "3s"))}
        if rng.random() < 0.4:
            task["timeout"] = rng.choice(("1s", "6s", "20s"))
        if rng.random() < 0.2:
            task["lease"] = rng.choice(("9s", "40s"))
        if rng.random() < 0.2:
            task["weight"] = 2
        if rng.random() < 0.3:
            task["priority"] = rng.randint(0, 9)
        if rng.random() < 0.2:
            task["on_lost"] = rng.choice(("hold", "fail"))
        if rng.random() < 0.1:
            task["grace"] = "5s"
        return task

    # ── the nemesis ──────────────────────────────────────────────────────────────────────────────────────────

    def _nemesis(self, life: Life | None) -> None:
        """Act, with a small chance, after a step; whoever made the step is the likeliest victim."""
        if self.rng.random() >= self.faults.a_step:
            return
        rng = self.rng
        victims = [program for program in self.programs if program.life is life and life is not None]
        program = victims[0] if victims and rng.random() < 0.6 else rng.choice(self.programs)
        act = rng.choices(
            ("crash", "freeze", "cut", "stop", "outage", "store", "delete", "lie", "load", "drain"),
            (30, 15, 20, 8, 5, 5, 8, 9, 5, 5),
        )[0]
        match act:
            case "crash":
                self._crash(program)
            case "freeze":
                self._freeze(program)
            case "cut" if program.broker is not None:
                program.broker.cut(rng.choice((0.0, 1.0, 15.0, 40.0, 90.0)) * rng.random())
            case "stop":
                self._stop(program)
            case "outage" if self.hub.up:
                self.hub.outage()
                self.loop.call_later(rng.choice((1.0, 10.0, 50.0)), self.hub.restart)
            case "store" if self.disk.up:
                self._store_outage(rng.choice((1.0, 10.0, 40.0)))
            case "delete" if self.deletes_queues:
                self.hub.delete_some_queue()
            case "lie":
                self._errand_tasks.append(asyncio.ensure_future(self._tell_gossip(rng.random() < 0.5)))
            case "load":
                self.load[program.name] = rng.choice((0.0, 0.0, 5.0, 20.0))
            case "drain" if program.name in self.spools:
                self._errand_tasks.append(asyncio.ensure_future(self._drain(program.name, rng.uniform(0, 30))))

    async def _drain(self, worker: str, for_s: float) -> None:
        await self._admin.drain(worker)
        await asyncio.sleep(for_s)
        await self._admin.undrain(worker)

    def _start(self, program: Program) -> None:
        if program.life is not None:
            return
        program.lives += 1
        self.lives += 1
        life = program.life = Life(program.name)
        program.broker = self.hub.connect(life)
        rng = Random(f"{program.name} {program.lives} {self.seed}")
        program.stopping = False
        self.trace.add(program.name, "starts", program.lives)
        program.task = self.loop.live(life, program.main(program, program.broker, self._store(rng), rng))
        program.task.add_done_callback(lambda task: self._ended(program, life, task))

    def _ended(self, program: Program, life: Life, task: asyncio.Task[Any]) -> None:
        """Hear that a program ended by itself: right if it was asked to."""
        if program.life is not life:
            return
        error = None if task.cancelled() else task.exception()
        self.trace.add(program.name, "ended", repr(error))
        if not program.stopping or error is not None:
            self.loop.violate(f"{program.name} ended by itself: {_told(error)}")
        self._gone(program, 0.0)

    def _crash(self, program: Program) -> None:
        if program.life is None:
            return
        self.trace.add(program.name, "crashes")
        self.loop.kill(program.life)
        self.ledger.died(program.life)
        self._gone(program, self.rng.choice((0.0, 0.0, 20.0)) * self.rng.random())

    def _gone(self, program: Program, noticed_after_s: float) -> None:
        assert program.broker is not None
        self.loop.kill(program.life)
        self.hub.bury(program.broker, noticed_after_s)
        program.life = program.broker = program.task = None
        back_s = self.rng.choice((0.0, 0.5, 5.0, 60.0)) * self.rng.random()
        self.loop.call_later(back_s, self._start, program)

    def _freeze(self, program: Program) -> None:
        life = program.life
        if life is None or life.frozen:
            return
        self.trace.add(program.name, "freezes")
        self.loop.freeze(life)
        for_s = self.rng.choice((1.0, 12.0, 45.0, 90.0)) * self.rng.random()
        self.loop.call_later(for_s, self._thaw, life)
        if for_s > 20 and self.rng.random() < 0.5:  # the broker misses its heartbeats
            self.loop.call_later(20, self._miss, life, program.broker)

    def _miss(self, life: Life, broker: SimBroker) -> None:
        if life.frozen and not life.dead:
            broker.cut(1.0)

    def _thaw(self, life: Life) -> None:
        if life.frozen and not life.dead:
            self.trace.add(life.name, "thaws")
            self.loop.thaw(life)

    def _stop(self, program: Program) -> None:
        if program.task is not None and not program.stopping:
            self.trace.add(program.name, "is stopped")
            program.stopping = True
            program.task.cancel()

    def _store_outage(self, for_s: float) -> None:
        self.trace.add("store", "outage")
        self.disk.up = False
        self.loop.call_later(for_s, self._store_back)

    def _store_back(self) -> None:
        self.disk.up = True

    def _calm_down(self) -> None:
        """Stop the faults and repair what is broken."""
        self.trace.add("world", "calms")
        self.faults.stop()
        self.load.clear()
        self.disk.up = True
        for program in self.programs:
            if program.life is not None:
                self._thaw(program.life)
            self._start(program)
        if not self.hub.up:
            self.hub.restart()

    # ── gossip ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _gossip(self) -> None:
        while True:
            await self._tell_gossip(True)
            await asyncio.sleep(10)

    async def _tell_gossip(self, truth: bool) -> None:
        """Say who is alive; or anything."""
        members = [
            MemberSeen(
                name=f"host-{program.name}",
                status="alive" if program.life is not None and not program.life.frozen else "failed",
            )
            for program in self.programs
        ]  # fmt: skip
        if not truth:
            lies = ("alive", "failed", "left", "leaving")
            members = [MemberSeen(name=one.name, status=self.rng.choice(lies)) for one in members]
        body = Members(members=members, full=True)
        message = Message(
            CONTROL, "member", body.KIND, encode(body), new_token(self.rng), durable=False, mandatory=False
        )
        with contextlib.suppress(BrokerUnavailable):
            await self._gossip_link.publish(message)

    # ── what the programs say ────────────────────────────────────────────────────────────────────────────────

    def _heard(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        life = LIFE.get()
        if self.over:
            raise structlog.DropEvent
        facts = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "exc_info"))
        self.trace.add(life, f"[{method}]", event["event"], facts)
        if method in ("error", "exception", "critical") and "spool" not in str(event["event"]) and life is not None:
            import traceback

            told = traceback.format_exc() if method == "exception" else ""
            self.loop.violate(f"{life} logged an error: {dict(event)} {told}")
        raise structlog.DropEvent


def _told(error: BaseException | None) -> str:
    import traceback

    return "no error" if error is None else "".join(traceback.format_exception(error))
