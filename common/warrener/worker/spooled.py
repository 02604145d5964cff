"""The reports of claimed attempts: into the spool, then sent again and again until their receipt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import structlog

from warrener.ids import AttemptRef, BootId, shard_of
from warrener.messages import Held, Report, Reports
from warrener.performer import Performer
from warrener.runtime.crash import crash_point
from warrener.topology import REPORTS
from warrener.worker.direct import MAX_BATCH_BYTES, MAX_REPORTS
from warrener.worker.identity import Identity
from warrener.worker.post import Post, backoff_s
from warrener.worker.spool import Spool, Spooled

_FIRST_S = 2.0
_LONGEST_S = 60.0

log = structlog.get_logger("warrener.worker")


@dataclass(slots=True, eq=False)
class _Entry:
    spooled: Spooled
    bytes: int
    tries: int = 0
    due_s: float = 0.0
    """On the loop's clock."""


class SpooledReports:
    """Keeps and sends the reports of claimed attempts. A receipt ends the matter, whatever life it is meant for."""

    def __init__(self, who: Identity, post: Post, spool: Spool, performer: Performer, rng: Random) -> None:
        self._who = who
        self._post = post
        self._spool = spool
        self._performer = performer
        self._rng = rng
        self._entries: dict[AttemptRef, _Entry] = {}
        self._unwritten: list[_Entry] = []
        self._received: list[AttemptRef] = []
        self._to_keep = asyncio.Event()
        self._to_send = asyncio.Event()
        self._calm = asyncio.Event()

    def __contains__(self, ref: AttemptRef) -> bool:
        return ref in self._entries

    def held(self) -> Iterator[Held]:
        """Yield what has ended and has no receipt yet."""
        for ref, entry in self._entries.items():
            yield Held(run=ref.run, n=ref.n, attempt=ref.attempt, token=entry.spooled.report.token)

    async def load(self) -> None:
        """Take over what an earlier life of this worker left; it is sent again at once."""
        for spooled in await self._spool.load():
            self._entries[spooled.ref] = _Entry(spooled, len(spooled.model_dump_json(exclude_defaults=True)))
        if self._entries:
            log.info("sending spooled reports again", count=len(self._entries))
        self._to_send.set()

    def add(self, report: Report, boot: BootId, size_bytes: int) -> None:
        """Take the report of an attempt that was granted to this life."""
        entry = _Entry(Spooled(worker=self._who.name, boot=boot, report=report), size_bytes)
        self._entries[report.ref] = entry
        self._unwritten.append(entry)
        self._calm.clear()
        self._to_keep.set()

    def heed(self, ref: AttemptRef) -> None:
        """Hear that a report is committed, or will never be applied: either way it is done with."""
        if self._entries.pop(ref, None) is not None:
            crash_point("worker.receipt")
            self._received.append(ref)
            self._to_keep.set()

    def again(self) -> None:
        """Send everything now: a scheduler has just started, and perhaps nobody listened before."""
        now_s = asyncio.get_running_loop().time()
        for entry in self._entries.values():
            entry.due_s = min(entry.due_s, now_s)
        self._to_send.set()

    async def drain(self) -> None:
        """Wait until every report is in the spool and was handed to the broker once, or has its receipt."""
        while self._unwritten or self._received or any(entry.tries == 0 for entry in self._entries.values()):
            self._calm.clear()
            await self._calm.wait()

    # ── keeping ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def keep(self) -> None:
        """Write what is new and drop what has its receipt, for ever; those that wait together share the syncs."""
        while True:
            self._calm.set()
            await self._to_keep.wait()
            self._to_keep.clear()
            await self._write_new()
            await self._drop_received()

    async def _write_new(self) -> None:
        fresh = list(self._unwritten)
        if not fresh:
            return
        try:
            await self._spool.put([entry.spooled for entry in fresh])
        except OSError as error:
            # Better sent from memory than not at all; only a crash before the receipt would lose it.
            log.error("cannot write to the spool; reports are sent unkept", count=len(fresh), error=str(error))
        crash_point("worker.spooled")
        del self._unwritten[: len(fresh)]
        for entry in fresh:
            entry.due_s = asyncio.get_running_loop().time()
        self._to_send.set()

    async def _drop_received(self) -> None:
        done, self._received = self._received, []
        if not done:
            return
        try:
            await self._spool.drop(done)
        except OSError as error:
            log.error("cannot remove from the spool; these reports will be sent again", error=str(error))
        crash_point("worker.unspooled")
        for ref in done:
            await self._forget(ref)

    async def _forget(self, ref: AttemptRef) -> None:
        try:
            await self._performer.forget(ref)
        except Exception as error:
            log.exception("the performer could not forget an attempt", attempt=str(ref), error=str(error))

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def send(self) -> None:
        """Send what is due, for ever."""
        while True:
            self._to_send.clear()
            now_s = asyncio.get_running_loop().time()
            written = self._written()
            due = [entry for entry in written if entry.due_s <= now_s]
            for batch in _batches(due):
                await self._send_batch(batch)
            self._calm.set()
            if not due:
                await self._wait(min((entry.due_s for entry in written), default=None))

    def _written(self) -> list[_Entry]:
        unwritten = set(map(id, self._unwritten))
        return [entry for entry in self._entries.values() if id(entry) not in unwritten]

    async def _wait(self, until_s: float | None) -> None:
        try:
            async with asyncio.timeout_at(until_s):
                await self._to_send.wait()
        except TimeoutError:
            pass

    async def _send_batch(self, batch: Sequence[_Entry]) -> None:
        reports = [entry.spooled.report for entry in batch]
        first = batch[0].spooled
        body = Reports(worker=first.worker, boot=first.boot, reports=reports)
        arrived = await self._post.send(REPORTS, str(shard_of(first.report.run)), body)
        now_s = asyncio.get_running_loop().time()
        for entry in batch:
            entry.tries += 1
            entry.due_s = now_s + backoff_s(entry.tries, self._rng, first_s=_FIRST_S, longest_s=_LONGEST_S)
        if arrived:
            crash_point("worker.reported")


def _batches(due: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """Parcel reports by shard and by the life in which they were written."""
    groups: dict[tuple[int, BootId], list[_Entry]] = {}
    for entry in due:
        groups.setdefault((shard_of(entry.spooled.report.run), entry.spooled.boot), []).append(entry)
    for group in groups.values():
        batch: list[_Entry] = []
        size = 0
        for entry in group:
            if batch and (size + entry.bytes > MAX_BATCH_BYTES or len(batch) == MAX_REPORTS):
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += entry.bytes
        yield batch
