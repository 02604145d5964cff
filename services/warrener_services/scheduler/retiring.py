"""What is over leaves the store: finished runs by the deployment's policy, and old evidence.

Each owner does it for its shards, a few hundred rows at a time, and rests after each step for several times as long as
the step took: whatever a scheduler decides meanwhile goes first. A run that goes in several steps has its own row to
the last, so that whoever takes the shard over goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from warrener.archive import Archive
from warrener.clock import Clock
from warrener.store import PastRow, Store, Transaction

log = structlog.get_logger(__name__)

STEP_ROWS = 500
_EVERY_S = 60.0
_REST = 4
_REST_AT_LEAST_S = 0.05


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long what is over is kept. `runs`: None keeps them for ever. `archive`: None drops them without a trace."""

    runs: timedelta | None = None
    archive: Archive | None = None
    evidence: timedelta = timedelta(days=90)


FOR_EVER = Keeping()


class Retiring:
    """Archives and drops what is over, beside the scheduler's loop."""

    def __init__(self, store: Store, clock: Clock, keeping: Keeping) -> None:
        self._store, self._clock, self._keeping = store, clock, keeping

    async def run(self, epochs: Mapping[int, int]) -> None:
        """Look once a minute, until cancelled; raises Fenced when a shard is lost."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.retire(epochs)
            except OSError as error:
                log.error("cannot archive finished runs; they stay in the store", reason=str(error))

    async def retire(self, epochs: Mapping[int, int]) -> int:
        """Let everything leave whose time has come; return how many rows left."""
        now, gone = self._clock.now(), 0
        before = now - self._keeping.evidence
        await self._store.transact(lambda tx: tx.past.forget(before, STEP_ROWS))
        if self._keeping.runs is not None:
            for shard, epoch in epochs.items():
                while number := await self._paced_step(shard, epoch, now - self._keeping.runs):
                    gone += number
        if gone:
            log.info("finished runs left the store", rows=gone, archived=self._keeping.archive is not None)
        return gone

    async def _paced_step(self, shard: int, epoch: int, before: datetime) -> int:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        number = await self._step(shard, epoch, before)
        if number:
            await asyncio.sleep(max(_REST_AT_LEAST_S, _REST * (loop.time() - begun_s)))
        return number

    async def _step(self, shard: int, epoch: int, before: datetime) -> int:
        rows = await self._store.read(lambda tx: tx.past.find(shard, before, STEP_ROWS))
        if rows:
            if self._keeping.archive is not None:
                await asyncio.to_thread(self._keeping.archive.append, rows)
            await self._store.transact(lambda tx: _drop(tx, {shard: epoch}, rows, before))
        return len(rows)


def _drop(tx: Transaction, epochs: Mapping[int, int], rows: Sequence[PastRow], before: datetime) -> None:
    tx.shards.fence(epochs)
    tx.past.drop(rows, before)
