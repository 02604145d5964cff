"""What keeps work away from hosts and workers: drains, penalties, and the deaths that tasks are suspected of."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, insert, select

from warrener.penalties import Penalty
from warrener.store import Death, Drain
from warrener.stores.tables import deaths, drains, penalties, tasks

_DEATHS = ("run", "n", "attempt", "shard", "worker", "boot", "at")


class SqlRestraints:
    """Queries over `drains`, `penalties` and `deaths`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def drains(self) -> Sequence[Drain]:
        rows = self._connection.execute(select(drains).order_by(drains.c.what, drains.c.name))
        return [Drain(row.what, row.name, row.by, row.reason, row.at) for row in rows]

    def drain(self, drain: Drain) -> None:
        self.undrain(drain.what, drain.name)
        self._connection.execute(
            insert(drains),
            {"what": drain.what, "name": drain.name, "by": drain.by, "reason": drain.reason, "at": drain.at},
        )

    def undrain(self, what: str, name: str) -> bool:
        gone = delete(drains).where(drains.c.what == what, drains.c.name == name)
        return bool(self._connection.execute(gone).rowcount)

    def penalties(self) -> Sequence[Penalty]:
        rows = self._connection.execute(select(penalties).order_by(penalties.c.host))
        return [Penalty(row.host, row.strikes, row.quarantines, row.until, row.reason, row.at) for row in rows]

    def deaths(self, shards: Collection[int]) -> Sequence[Death]:
        rows = self._connection.execute(
            select(*(deaths.c[name] for name in _DEATHS))
            .join(tasks, (tasks.c.run == deaths.c.run) & (tasks.c.n == deaths.c.n))
            .where(deaths.c.shard.in_(sorted(shards)), tasks.c.finished_at.is_(None))
            .order_by(deaths.c.run, deaths.c.n, deaths.c.attempt)
        )
        return [Death(*row) for row in rows]
