"""Which shards this scheduler owns: taking what nobody holds, and keeping it.

No clock is compared between hosts. A row that names another owner is free when its beat has stood still for a whole
lease by our own clock; a row that names us, from an earlier life, is ours at once. Whoever takes a shard raises its
epoch, and with it fences every write of the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from warrener.store import ShardRow, Store


class Ownership:
    """The shards of one scheduler, by its name."""

    def __init__(self, store: Store, name: str, lease: timedelta) -> None:
        self._store, self._name = store, name
        self._lease_s = lease.total_seconds()
        self._seen: dict[int, tuple[int, int, float]] = {}  # shard → epoch, beat, since when by the loop's clock
        self.epochs: dict[int, int] = {}

    @property
    def pause_s(self) -> float:
        """How often to call `keep` or `take`."""
        return self._lease_s / 4

    async def take(self) -> dict[int, int]:
        """Take every free shard, and those of an earlier life of ours; return the epochs, perhaps none."""
        rows = await self._store.read(lambda tx: tx.shards.all())
        free = self._free(rows, ours_too=True)
        self.epochs = {}  # what an earlier session had is in `free`, or lost
        if free:
            self.epochs = await self._store.transact(lambda tx: tx.shards.take(free, self._name))
        return self.epochs

    async def keep(self) -> bool:
        """Move the beat; tell whether others' shards have become free meanwhile. Raises Fenced."""
        epochs = dict(self.epochs)
        await self._store.transact(lambda tx: tx.shards.keep(epochs))
        rows = await self._store.read(lambda tx: tx.shards.all())
        return bool(self._free([row for row in rows if row.shard not in epochs], ours_too=False))

    async def release(self) -> None:
        """Give the shards up for whoever comes."""
        epochs, self.epochs = dict(self.epochs), {}
        if epochs:
            await self._store.transact(lambda tx: tx.shards.release(epochs))

    def _free(self, rows: Sequence[ShardRow], *, ours_too: bool) -> list[ShardRow]:
        now = asyncio.get_running_loop().time()
        free: list[ShardRow] = []
        for row in rows:
            epoch, beat, since = self._seen.get(row.shard, (-1, -1, now))
            if (epoch, beat) != (row.epoch, row.beat):
                since = now
                self._seen[row.shard] = (row.epoch, row.beat, now)
            silent = now - since >= self._lease_s
            if row.owner is None or silent or (ours_too and row.owner == self._name):
                free.append(row)
        return free
