"""Who owns which shard: the lease rows and their epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, select, update

from warrener.errors import Fenced
from warrener.store import ShardRow
from warrener.stores.tables import shards


class SqlShards:
    """Lease rows. Taking and keeping are guarded by what was seen, so no clock is compared between hosts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> Sequence[ShardRow]:
        rows = self._connection.execute(
            select(shards.c.shard, shards.c.owner, shards.c.epoch, shards.c.beat).order_by(shards.c.shard)
        )
        return [ShardRow(*row) for row in rows]

    def take(self, seen: Iterable[ShardRow], owner: str) -> dict[int, int]:
        wanted = {row.shard: row for row in seen}
        self._connection.execute(
            select(shards.c.shard)
            .where(shards.c.shard.in_(sorted(wanted)))
            .order_by(shards.c.shard)
            .with_for_update()  # waits for every transaction that `fence` let begin
        )
        taken: dict[int, int] = {}
        for row in wanted.values():
            result = self._connection.execute(
                update(shards)
                .where(shards.c.shard == row.shard, shards.c.epoch == row.epoch, shards.c.beat == row.beat)
                .values(owner=owner, epoch=row.epoch + 1, beat=row.beat + 1)
            )
            if result.rowcount:
                taken[row.shard] = row.epoch + 1
        return taken

    def keep(self, epochs: Mapping[int, int]) -> None:
        self.fence(epochs)
        self._connection.execute(
            update(shards).where(shards.c.shard.in_(sorted(epochs))).values(beat=shards.c.beat + 1)
        )

    def release(self, epochs: Mapping[int, int]) -> None:
        for shard, epoch in sorted(epochs.items()):
            self._connection.execute(
                update(shards).where(shards.c.shard == shard, shards.c.epoch == epoch).values(owner=None)
            )

    def fence(self, epochs: Mapping[int, int]) -> None:
        rows = self._connection.execute(
            select(shards.c.shard, shards.c.epoch)
            .where(shards.c.shard.in_(sorted(epochs)))
            .order_by(shards.c.shard)
            # Holds a new owner off until our commit, but not our own beat. SQLite has one writer anyway.
            .with_for_update(read=True, key_share=True)
        )
        found = {row.shard: row.epoch for row in rows}
        lost = sorted(shard for shard, epoch in epochs.items() if found.get(shard) != epoch)
        if lost:
            raise Fenced(f"shards {', '.join(map(str, lost))} belong to another scheduler by now")
