"""How long tasks have taken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from warrener.store import RunTime
from warrener.stores.tables import run_times


class SqlRunTimes:
    """Queries over `run_times`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, workflow: str, limit: int) -> dict[str, float]:
        query = select(run_times.c.task, run_times.c.mean_s).where(run_times.c.workflow == workflow)
        rows = self._connection.execute(query.order_by(run_times.c.at.desc()).limit(limit))
        return {task: mean_s for task, mean_s in rows}  # noqa: C416 - dict() of rows is not typed

    def keep(self, rows: Sequence[RunTime]) -> None:
        if not rows:
            return
        insert = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(run_times)
        statement = statement.on_conflict_do_update(
            index_elements=["workflow", "task"],
            set_={"mean_s": statement.excluded.mean_s, "at": statement.excluded["at"]},
        )
        in_turn = sorted(rows, key=lambda row: (row.workflow, row.task))  # two schedulers lock rows in one order
        self._connection.execute(
            statement,
            [{"workflow": row.workflow, "task": row.task, "mean_s": row.mean_s, "at": row.at} for row in in_turn],
        )

    def forget(self, before: datetime, limit: int) -> int:
        key = (run_times.c.workflow, run_times.c.task)
        old = select(*key).where(run_times.c.at < before).limit(limit)
        return self._connection.execute(delete(run_times).where(tuple_(*key).in_(old))).rowcount
