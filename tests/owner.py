"""A scheduler's side of the worker protocol, played by a test: one owner of all shards, on an in-process broker."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from warrener import topology
from warrener.broker import Delivery, Message
from warrener.brokers.memory import MemoryBroker
from warrener.brokers.memory_node import MemoryQueue
from warrener.ids import AttemptRef, RunId, new_run_id, new_token
from warrener.messages import (
    Answers,
    AttemptPart,
    Body,
    Claims,
    Extension,
    Grant,
    Heartbeat,
    Kind,
    Logs,
    Order,
    Orders,
    Receipt,
    Refusal,
    Report,
    Reports,
    RollCall,
    Stop,
    decode,
    encode,
)  # fmt: skip
from warrener.performer import Assignment
from warrener.signing import HEADER, ClaimKey, OrderSigner
from warrener.site import Site
from warrener.worker import MemorySpool, WorkerService

SHARD = 3
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only while nothing else can happen: an hour takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready and self._scheduled:
            self.now_s = max(self.now_s, self._scheduled[0]._when)
        super()._run_once()


def in_virtual_time(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


class LoopClock:
    """The clock of the running loop; `ahead_s` is time that the loop did not see pass: the host slept."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.boot_s())

    def boot_s(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


class Scripted:
    """A performer that does what the test says: `acts[n]` is awaited for task n."""

    def __init__(self, kind: Kind = Kind.JOB) -> None:
        self.kind = kind
        self.acts: dict[int, Callable[[Assignment], Awaitable[Any]]] = {}
        self.begun: list[AttemptRef] = []
        self.stopped: list[tuple[AttemptRef, str | None]] = []
        self.extensions: list[float] = []
        self.forgotten: list[AttemptRef] = []
        self.left: list[Assignment] = []
        self.changed = asyncio.Condition()

    async def perform(self, assignment: Assignment) -> Any:
        self.begun.append(assignment.ref)
        await self._note()
        try:
            act = self.acts.get(assignment.order.n)
            return await act(assignment) if act else {"n": assignment.order.n}
        except asyncio.CancelledError:
            self.stopped.append((assignment.ref, assignment.stop))
            raise

    async def extended(self, assignment: Assignment) -> None:
        assert assignment.lease_until_s is not None
        self.extensions.append(assignment.lease_until_s)
        await self._note()

    async def recover(self) -> list[Assignment]:
        return self.left

    async def forget(self, ref: AttemptRef) -> None:
        self.forgotten.append(ref)
        await self._note()

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(condition)


async def for_ever(_assignment: Assignment) -> None:
    await asyncio.Event().wait()


class Owner:
    """Sends orders, hears claims, reports, logs and heartbeats, answers as the test says."""

    def __init__(self, broker: MemoryBroker | None = None, seed: int = 1) -> None:
        self.broker = broker or MemoryBroker()
        self.rng = Random(seed)
        self.signer = OrderSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
        self.key = ClaimKey(b"test")
        self.run: RunId = new_run_id(EPOCH, SHARD, self.rng)
        self.heard: dict[type[Body], asyncio.Queue[Any]] = {
            kind: asyncio.Queue() for kind in (Claims, Reports, Logs, Heartbeat)
        }
        self.boot = self.previous = ""
        self.worker = "w1"

    async def listen(self) -> None:
        reports = await self.broker.subscribe([topology.reports(SHARD)], prefetch=1000)
        control = await self.broker.subscribe([topology.control("owner", "heartbeat")], prefetch=1000)
        self._tasks = [asyncio.create_task(self._hear(flow)) for flow in (reports, control)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _hear(self, flow: Any) -> None:
        while True:
            deliveries: list[Delivery] = await flow.take(100)
            for delivery in deliveries:
                body = decode(delivery.kind, delivery.body, Claims, Reports, Logs, Heartbeat)
                if isinstance(body, Heartbeat):
                    self.boot = body.boot
                self.heard[type(body)].put_nowait(body)
            await flow.settle(deliveries)

    # ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────

    async def claims(self) -> Claims:
        return await self.heard[Claims].get()

    async def reports(self) -> Reports:
        return await self.heard[Reports].get()

    async def report(self) -> Report:
        [report] = (await self.reports()).reports
        return report

    async def logs(self) -> Logs:
        return await self.heard[Logs].get()

    async def heartbeat(self, condition: Callable[[Heartbeat], bool] = lambda _beat: True) -> Heartbeat:
        while True:
            beat = await self.heard[Heartbeat].get()
            if condition(beat):
                return beat

    def nothing(self, kind: type[Body]) -> bool:
        return self.heard[kind].empty()

    def queue(self, name: str) -> MemoryQueue:
        return self.broker.node._queues[name]

    # ── what goes ────────────────────────────────────────────────────────────────────────────────────────────────

    def make(self, n: int = 0, *, kind: Kind = Kind.JOB, attempt: int = 1, app: str = "", **fields: Any) -> Order:
        ref = AttemptRef(self.run, n, attempt)
        token = self.key.direct_token(ref, app) if app else None
        return Order(
            run=self.run, n=n, attempt=attempt, task_name=f"t{n}", workflow="w", task_kind=kind,
            body=fields.pop("body", {}), token=token, **fields,
        )  # fmt: skip

    async def order(
        self, *orders: Order, lane: str = "job", claim: bool = True, issued_at: datetime | None = None,
        signature: str | None = None, headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        body = encode(Orders(issued_at=issued_at or EPOCH, orders=list(orders), claim=claim))
        signed = {HEADER: self.signer.sign(body) if signature is None else signature, **(headers or {})}
        await self._publish(topology.ORDERS, lane, Orders.KIND, body, signed)

    async def answer(self, boot: str | None = None, **parts: Any) -> None:
        body = Answers(boot=boot or self.boot, **parts)
        await self._publish(topology.REPORTS, f"answers.{self.worker}", Answers.KIND, encode(body), {})

    async def grant(self, claims: Claims, **more: Any) -> None:
        await self.answer(grants=[self.granted(claim, claims.seq) for claim in claims.claims], **more)

    def granted(self, claim: AttemptPart, seq: int) -> Grant:
        return Grant(**_of(claim), token=self.token(claim), seq=seq)

    def token(self, part: AttemptPart, boot: str | None = None) -> str:
        return self.key.token(part.ref, self.worker, boot or self.boot)  # type: ignore[arg-type]

    async def refuse(self, claims: Claims, reason: str = "another worker holds it") -> None:
        refusals = [Refusal(**_of(claim), reason=reason, seq=claims.seq) for claim in claims.claims]
        await self.answer(refusals=refusals)

    async def receive(self, *reports: Report, boot: str | None = None) -> None:
        await self.answer(boot=boot, receipts=[Receipt(**_of(report), applied=True) for report in reports])

    async def stop(self, part: AttemptPart, reason: str) -> None:
        await self.answer(stops=[Stop(**_of(part), reason=reason)])  # type: ignore[arg-type]

    async def extend(self, beat: Heartbeat) -> None:
        attempts = [AttemptPart(**_of(held)) for held in beat.attempts]
        await self.answer(extensions=[Extension(seq=beat.seq, attempts=attempts)])

    async def call_roll(self) -> None:
        await self._publish(topology.CONTROL, "rollcall", RollCall.KIND, encode(RollCall()), {})

    async def _publish(self, exchange: str, key: str, kind: str, body: bytes, headers: dict[str, str]) -> None:
        mandatory = exchange != topology.CONTROL
        await self.broker.publish(
            Message(exchange, key, kind, body, new_token(self.rng), mandatory=mandatory, headers=headers)
        )


def _of(part: AttemptPart) -> dict[str, Any]:
    return {"run": part.run, "n": part.n, "attempt": part.attempt}


class Life:
    """One life of a worker beside an owner: `async with`; leaving stops it as planned."""

    def __init__(self, owner: Owner, performer: Any, site: Site, **given: Any) -> None:
        self.owner = owner
        self.clock = given.pop("clock", None) or LoopClock()
        self.spool = MemorySpool() if (spool := given.pop("spool", None)) is None else spool
        self.broker = MemoryBroker(owner.broker.node)
        apps = ("app",) if performer.kind is Kind.CALL else ()
        fields = {"slots": 2, "grace_s": 5.0, "apps": apps, "rng": owner.rng} | given
        self.service = WorkerService(
            performer, name=owner.worker, kind=performer.kind, site=site, broker=self.broker, spool=self.spool,
            verifier=owner.signer.verifier(), clock=self.clock, host="h1", **fields,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.service.run())
        await self.service.up.wait()
        await self.owner.heartbeat(lambda beat: beat.boot == self.service.who.boot)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.service.stop()
        await self.task
        await self.broker.close()

    def cut_off(self) -> None:
        """Take its connection and its disk away at once: whatever it still does, nobody hears."""
        closing = self.broker.close()
        with contextlib.suppress(StopIteration):
            closing.send(None)
        self.service._spooled._spool = MemorySpool()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        self.cut_off()
        self.task.cancel()
        await asyncio.sleep(0)
        self.task.cancel()
        await asyncio.wait([self.task])
        with contextlib.suppress(asyncio.CancelledError):
            self.task.exception()
