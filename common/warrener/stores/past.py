"""Rows of runs that are over: read to be archived, and dropped, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_

from warrener.ids import RunId
from warrener.store import PastRow
from warrener.stores.tables import (
    alerts,
    attempts,
    deaths,
    letters,
    logs,
    needs,
    parked,
    runs,
    strays,
    tasks,
    workflows,
)

_PARTS = (tasks, needs, attempts, deaths, strays, logs)
"""What belongs to a run, in the order in which it goes. Tasks go first: a run that lacks some cannot be retried."""

_TABLES = {table.name: table for table in (*_PARTS, runs)}


class SqlPast:
    """Queries over everything that belongs to finished runs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, shard: int, before: datetime, limit: int) -> Sequence[PastRow]:
        over = self._connection.execute(
            select(runs.c.id, runs.c.finished_at, runs.c.tasks)
            .where(runs.c.shard == shard, runs.c.finished_at.is_not(None), runs.c.finished_at < before)
            .order_by(runs.c.finished_at, runs.c.id)
            .limit(limit)
        ).all()
        ends: dict[str, datetime] = {}
        expected = 0
        for run, finished_at, number in over:
            expected += number + 1
            if ends and expected > limit:
                break
            ends[run] = finished_at
        found: list[PastRow] = []
        for table in _PARTS:
            left = limit - len(found)
            found += self._rows(table, table.c.run, ends, left + 1)
            if len(found) > limit:
                return found[:limit]  # the rest, and the runs themselves, another time
        return [*found, *self._definitions(ends), *self._rows(runs, runs.c.id, ends, len(ends))]

    def drop(self, rows: Sequence[PastRow], before: datetime) -> None:
        over = self._still_over({row.run for row in rows}, before)
        for name, table in _TABLES.items():
            keys = [_key_of(table, row) for row in rows if row.table == name and row.run in over]
            if keys:
                self._connection.execute(delete(table).where(_is_one_of(table, keys)))

    def forget(self, before: datetime, limit: int) -> int:
        gone = 0
        for table in (strays, parked):
            # Ids grow with time: the oldest few are looked at, and no index of moments is needed.
            oldest = select(table.c.id).order_by(table.c.id).limit(limit).subquery()
            old = delete(table).where(table.c.id.in_(select(oldest.c.id)), table.c.at < before)
            gone += self._connection.execute(old).rowcount
        return gone + self._forget_alerts(before, limit)

    def _forget_alerts(self, before: datetime, limit: int) -> int:
        """Drop old alerts, also those that no desk was there to tell, and old letters that are done with."""
        gone = 0
        for table, old in (
            (alerts, alerts.c.at < before),
            (letters, (letters.c.opened_at < before) & letters.c.ended_at.is_not(None)),
        ):
            oldest = select(table.c.id).order_by(table.c.id).limit(limit).subquery()
            gone += self._connection.execute(delete(table).where(table.c.id.in_(select(oldest.c.id)), old)).rowcount
        return gone

    def _rows(self, table: Table, of: ColumnElement[Any], ends: dict[str, datetime], limit: int) -> list[PastRow]:
        if not ends:
            return []
        query = select(table).where(of.in_(list(ends))).order_by(*table.primary_key.columns).limit(limit)
        place = str(of.key)
        return [
            PastRow(table.name, RunId(row[place]), ends[row[place]], _plain(table, row))
            for row in self._connection.execute(query).mappings()
        ]

    def _definitions(self, ends: dict[str, datetime]) -> list[PastRow]:
        """Return what these runs were runs of; definitions stay in the store."""
        if not ends:
            return []
        query = select(runs.c.id.label("run"), workflows).join(workflows, workflows.c.digest == runs.c.digest)
        found: dict[str, PastRow] = {}
        for row in self._connection.execute(query.where(runs.c.id.in_(list(ends)))).mappings():
            fields = _plain(workflows, row)
            found.setdefault(row["digest"], PastRow(workflows.name, RunId(row["run"]), ends[row["run"]], fields))
        return list(found.values())

    def _still_over(self, ids: Collection[RunId], before: datetime) -> set[str]:
        """Return those of these runs that nobody has retried meanwhile, and hold them until the commit."""
        query = select(runs.c.id).where(runs.c.id.in_(sorted(ids)), runs.c.finished_at < before)
        return set(self._connection.scalars(query.order_by(runs.c.id).with_for_update()))


def _plain(table: Table, row: Any) -> dict[str, Any]:
    """Return a row as JSON can have it: moments as ISO 8601."""
    fields = {column.name: row[column.name] for column in table.columns}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


def _key_of(table: Table, row: PastRow) -> tuple[Any, ...]:
    return tuple(row.fields[column.name] for column in table.primary_key.columns)


def _is_one_of(table: Table, keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    columns = list(table.primary_key.columns)
    if len(columns) == 1:
        return columns[0].in_([key for (key,) in keys])
    return tuple_(*columns).in_(keys)
