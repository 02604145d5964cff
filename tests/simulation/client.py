"""Those who submit, cancel and try again: by message with a reply, by message without one, and through the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

from simulation.broker import SimBroker
from simulation.checks import Checks
from simulation.store import SimStore
from simulation.trace import Trace
from warrener.broker import Message, Queue
from warrener.errors import BrokerUnavailable, StoreRefused, StoreUnavailable
from warrener.ids import RunId, new_token
from warrener.messages import Accepted, Body, CancelRuns, RunRequest, Submit, Wake, decode, encode
from warrener.runs import FINAL
from warrener.signing import HEADER, SubmitKey
from warrener.store import Changes, Drain, Transaction
from warrener.submission import definition_row, make_run
from warrener.topology import CONTROL, REPORTS, SUBMISSIONS
from warrener.workflows import Definition

OWNER = "tester"
_REPLIES = Queue("replies.client", exclusive=True)


class Client:
    """One client; it never crashes, but its connections do."""

    def __init__(
        self, broker: SimBroker, store: SimStore, checks: Checks,
        *, key: SubmitKey, rng: Random, trace: Trace, now: Callable[[], datetime], shards: int,
    ) -> None:  # fmt: skip
        self._broker, self._store, self._key, self._checks = broker, store, key, checks
        self._rng, self._trace, self._now, self._shards = rng, trace, now, shards
        self._answered = asyncio.Condition()
        self.confirmed: set[str] = set()
        """Keys of submissions that the broker confirmed, and that nobody repeats."""

    async def listen(self) -> None:
        """Take the replies in, for ever."""
        subscription = None
        while subscription is None:
            try:
                subscription = await self._broker.subscribe([_REPLIES], prefetch=10)
            except BrokerUnavailable:
                await asyncio.sleep(1)
        while True:
            deliveries = await subscription.take(10)
            for delivery in deliveries:
                for result in decode(delivery.kind, delivery.body, Accepted).results:
                    assert result.run is not None, result.problems
                    self._checks.was_accepted(OWNER, result.key, result.run)
            await subscription.settle(deliveries)
            async with self._answered:
                self._answered.notify_all()

    # ── submitting ───────────────────────────────────────────────────────────────────────────────────────────

    async def submit(self, workflow: dict[str, Any], keys: list[str], way: str) -> None:
        """Submit until accepted."""
        self._trace.add("client", "submit", way, *keys)
        if way == "store":
            for key in keys:
                await self._insert(Definition.parse(workflow), key)
        elif way == "blind":
            await self._publish_once(workflow, keys)
        else:
            await self._publish_until_answered(workflow, keys)

    async def _publish_once(self, workflow: dict[str, Any], keys: list[str]) -> None:
        while not await self._publish(self._submission(workflow, keys, reply=False)):
            await asyncio.sleep(1)
        self.confirmed.update(keys)

    async def _publish_until_answered(self, workflow: dict[str, Any], keys: list[str]) -> None:
        while not all((OWNER, key) in self._checks.accepted for key in keys):
            await self._publish(self._submission(workflow, keys, reply=True))
            try:
                async with asyncio.timeout(3), self._answered:
                    await self._answered.wait()
            except TimeoutError:
                pass

    def _submission(self, workflow: dict[str, Any], keys: list[str], *, reply: bool) -> Message:
        body = Submit(owner=OWNER, workflow=workflow, runs=[RunRequest(key=key) for key in keys])
        return self._message(REPORTS, "submissions", body, reply_to=_REPLIES.name if reply else None)

    async def _insert(self, definition: Definition, key: str) -> None:
        """Accept a run as the gateway does."""

        def add(tx: Transaction) -> RunId:
            known = tx.runs.known([(OWNER, key)])
            if known:
                return known[OWNER, key].id
            request = RunRequest(key=key)
            row = make_run(OWNER, definition, request, now=self._now(), shards=self._shards, rng=self._rng)
            tx.write(Changes(definitions=[definition_row(definition, self._now())], new_runs=[row]))
            return row.id

        run = await self._write(add)
        self._checks.was_accepted(OWNER, key, run)
        await self._publish(self._message(CONTROL, "wake", Wake(shards=list(range(self._shards))), durable=False))

    # ── changing one's mind ──────────────────────────────────────────────────────────────────────────────────

    async def cancel(self, key: str, way: str) -> None:
        """Ask until the run is final."""
        run = self._checks.accepted.get((OWNER, key))
        if run is None:
            return
        self._trace.add("client", "cancel", way, run)
        if way == "store":
            await self.intend(run, "cancel")
            return
        while self._checks.state_of(run) not in FINAL:
            await self._publish(self._message(REPORTS, "submissions", CancelRuns(owner=OWNER, runs=[RunId(run)])))
            await asyncio.sleep(5)

    async def retry(self, key: str) -> None:
        """Give a run that ended badly another go."""
        run = self._checks.accepted.get((OWNER, key))
        if run is not None and self._checks.state_of(run) in ("failed", "cancelled"):
            self._trace.add("client", "retry", run)
            self._checks.reopened.add(run)
            await self.intend(run, "retry")

    async def intend(self, run: str, what: str) -> None:
        await self._write(lambda tx: tx.write(Changes(wanted=[(RunId(run), what, self._now())])))

    async def drain(self, worker: str) -> None:
        await self._write(lambda tx: tx.restraints.drain(Drain("worker", worker, "somebody", "", self._now())))

    async def undrain(self, worker: str) -> None:
        await self._write(lambda tx: tx.restraints.undrain("worker", worker))

    async def _write(self, work: Callable[[Transaction], Any]) -> Any:
        while True:
            try:
                return await self._store.transact(work)
            except (StoreUnavailable, StoreRefused):
                await asyncio.sleep(1)

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────

    def _message(
        self, exchange: str, key: str, body: Body, *, durable: bool = True, reply_to: str | None = None
    ) -> Message:
        raw = encode(body)
        return Message(
            exchange, key, body.KIND, raw, new_token(self._rng), durable=durable, mandatory=durable,
            reply_to=reply_to, headers={HEADER: self._key.sign(raw)},
        )  # fmt: skip

    async def _publish(self, message: Message) -> bool:
        try:
            await self._broker.declare([SUBMISSIONS])
            await self._broker.publish(message)
        except BrokerUnavailable:
            return False
        return True
