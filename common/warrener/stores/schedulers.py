"""Which schedulers take part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, insert, select, update

from warrener.store import SchedulerRow
from warrener.stores.tables import schedulers


class SqlSchedulers:
    """A row for each. As with shards, a beat that stands still tells, and no clock is compared between hosts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> Sequence[SchedulerRow]:
        rows = self._connection.execute(select(schedulers).order_by(schedulers.c.name))
        return [SchedulerRow(row.name, row.life, row.beat) for row in rows]

    def beat(self, name: str, life: str) -> None:
        moved = update(schedulers).where(schedulers.c.name == name).values(life=life, beat=schedulers.c.beat + 1)
        if not self._connection.execute(moved).rowcount:
            self._connection.execute(insert(schedulers), {"name": name, "life": life, "beat": 1})

    def drop(self, seen: Iterable[SchedulerRow]) -> None:
        for row in sorted(seen, key=lambda row: row.name):
            self._connection.execute(
                delete(schedulers).where(
                    schedulers.c.name == row.name, schedulers.c.life == row.life, schedulers.c.beat == row.beat
                )
            )
