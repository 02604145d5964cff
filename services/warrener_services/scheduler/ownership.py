"""Which shards this scheduler owns: taking those it should have, keeping them, and giving up those it should not.

Every scheduler beats in a row of its own, and who beats, takes part. Rendezvous order says which of them should have
which shard (`warrener.rendezvous`); the shard's row says which of them has it. A scheduler takes what it should have
once that is free, and gives up what another should have, so that shards follow schedulers as they come and go.

No clock is compared between hosts. A beat that has stood still for a whole lease by our own clock is silence: a silent
scheduler takes part no more, and the shards of a silent owner are free. A shard's row that names us, from an earlier
life, is ours at once. Whoever takes a shard raises its epoch, and with it fences every write of the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

import structlog

from warrener.errors import Fenced
from warrener.rendezvous import shards_of
from warrener.store import SchedulerRow, ShardRow, Store, Transaction

K = TypeVar("K", bound=Hashable)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Picture:
    """How things stand: all shards, those whose owner is silent, and those that we should have."""

    rows: Sequence[ShardRow]
    silent: frozenset[int]
    wanted: frozenset[int]

    def is_free(self, row: ShardRow) -> bool:
        return row.shard in self.wanted and (row.owner is None or row.shard in self.silent)


class Ownership:
    """The shards of one scheduler. `name` is its own in the deployment, `life` that of this process."""

    def __init__(self, store: Store, name: str, life: str, lease: timedelta) -> None:
        self._store, self._name, self._life = store, name, life
        self._lease_s = lease.total_seconds()
        self._shard_beats: _Beats[int] = _Beats(self._lease_s)
        self._scheduler_beats: _Beats[str] = _Beats(self._lease_s)
        self.epochs: dict[int, int] = {}
        self.others: frozenset[str] = frozenset()
        """The other schedulers that take part."""

    @property
    def pause_s(self) -> float:
        """How often to call `keep` or `take`."""
        return self._lease_s / 4

    async def take(self) -> dict[int, int]:
        """Begin anew with every shard that we should have and may take; return the epochs, perhaps none.

        Those that an earlier session of ours had, and another scheduler should have now, are given up.
        """
        self.epochs = {}
        picture = await self._look()
        ours = [row for row in picture.rows if row.owner == self._name]
        spare = {row.shard: row.epoch for row in ours if row.shard not in picture.wanted}
        free = [row for row in picture.rows if picture.is_free(row) or (row in ours and row.shard not in spare)]
        if spare or free:
            self.epochs = await self._store.transact(lambda tx: self._change(tx, spare, free))
        return self.epochs

    def _change(self, tx: Transaction, spare: Mapping[int, int], free: Sequence[ShardRow]) -> dict[int, int]:
        tx.shards.release(spare)
        return tx.shards.take(free, self._name) if free else {}

    async def keep(self) -> bool:
        """Move our beats; tell whether shards should come or go now. Raises Fenced when one was lost."""
        picture = await self._look()
        coming = any(picture.is_free(row) and row.shard not in self.epochs for row in picture.rows)
        return coming or not self.epochs.keys() <= picture.wanted

    async def release(self) -> None:
        """Give the shards up for whoever comes, and take part no more."""
        epochs, self.epochs = dict(self.epochs), {}

        def leave(tx: Transaction) -> None:
            tx.shards.release(epochs)
            tx.schedulers.drop([row for row in tx.schedulers.all() if (row.name, row.life) == (self._name, self._life)])

        await self._store.transact(leave)

    async def _look(self) -> _Picture:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        rows, schedulers = await self._store.transact(self._beat)
        read_s = loop.time()
        silent = self._shard_beats.silent({row.shard: (row.epoch, row.beat) for row in rows}, asked_s, read_s)
        beats = {row.name: (row.life, row.beat) for row in schedulers if row.name != self._name}
        gone = self._scheduler_beats.silent(beats, asked_s, read_s)
        if gone:
            dead = [row for row in schedulers if row.name in gone]
            await self._store.transact(lambda tx: tx.schedulers.drop(dead))
        self._welcome(frozenset(beats) - gone)
        wanted = shards_of(self._name, self.others | {self._name}, len(rows))
        return _Picture(rows, frozenset(silent), wanted)

    def _beat(self, tx: Transaction) -> tuple[Sequence[ShardRow], Sequence[SchedulerRow]]:
        schedulers = tx.schedulers.all()
        if self.epochs:
            self._alone_with_our_name(schedulers)
            tx.shards.keep(self.epochs)
        tx.schedulers.beat(self._name, self._life)
        return tx.shards.all(), schedulers

    def _alone_with_our_name(self, schedulers: Sequence[SchedulerRow]) -> None:
        for row in schedulers:
            if row.name == self._name and row.life != self._life:
                raise Fenced(f"another scheduler is called {self._name} too; give each its own WARRENER_WORKER")

    def _welcome(self, others: frozenset[str]) -> None:
        if others != self.others:
            log.info("the schedulers that take part changed", others=sorted(others))
        self.others = others


class _Beats(Generic[K]):
    """Since when beats stand still, by our own clock."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[K, tuple[object, float]] = {}

    def silent(self, beats: Mapping[K, object], asked_s: float, read_s: float) -> set[K]:
        """Take in what was read between two moments; return what has not moved for a lease.

        A beat surely stood still from the end of the reading that showed it first to the beginning of the last one:
        were we frozen meanwhile, ours is not the others' silence.
        """
        known = self._seen
        self._seen = {
            one: known[one] if one in known and known[one][0] == beat else (beat, read_s) for one, beat in beats.items()
        }
        return {one for one, (_, since_s) in self._seen.items() if asked_s - since_s >= self._lease_s}
