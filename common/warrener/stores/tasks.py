"""Tasks, what they need, and the attempts that are behind them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    Text,
    and_,
    select,
)

from warrener.ids import RunId, TaskRef
from warrener.states import State
from warrener.store import AttemptRow, TaskRow
from warrener.stores import line
from warrener.stores.rows import Rows
from warrener.stores.tables import IS_IN_FLIGHT, attempts, needs, tasks

_NAMES = (
    "run", "n", "shard", "name", "kind", "lane", "workflow", "section", "templated", "policy", "priority", "weight",
    "deadline_at", "fanout", "state", "unmet", "level", "minus_path_s", "ready_at", "due_at", "attempt", "tries",
    "worker", "boot", "ordered_at", "started_at", "finished_at", "cause", "message", "exit_code", "output",
)  # fmt: skip
_COLUMNS = tuple(tasks.c[name] for name in _NAMES)
_LIGHT = tuple(column for column in _COLUMNS if column.name not in ("message", "output"))
_LIGHT_NAMES = tuple(column.name for column in _LIGHT)


class SqlTasks:
    """Queries over `tasks`, `needs` and `attempts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def load(self, refs: Collection[TaskRef]) -> dict[TaskRef, TaskRow]:
        if not refs:
            return {}
        given = _refs(self._connection.dialect.name)
        key = given.table.c
        query = select(*_COLUMNS).join(given.table, and_(tasks.c.run == key.run, tasks.c.n == key.n))
        rows = (_task(row) for row in self._connection.execute(query, given.bind(refs)))
        return {row.ref: row for row in rows}

    def of_run(self, run: RunId) -> Sequence[TaskRow]:
        return self._select(select(*_COLUMNS).where(tasks.c.run == run).order_by(tasks.c.n))

    def needs_of_run(self, run: RunId) -> Sequence[tuple[int, int]]:
        rows = self._connection.execute(select(needs.c.upstream, needs.c.n).where(needs.c.run == run))
        return [(upstream, n) for upstream, n in rows]

    def successors(self, refs: Collection[TaskRef]) -> Sequence[tuple[int, TaskRow]]:
        if not refs:
            return []
        given = _refs(self._connection.dialect.name)
        key = given.table.c
        query = (
            select(needs.c.upstream, *_COLUMNS)
            .select_from(given.table)
            .join(needs, and_(needs.c.run == key.run, needs.c.upstream == key.n))
            .join(tasks, and_(tasks.c.run == needs.c.run, tasks.c.n == needs.c.n))
        )
        return [(row[0], _task(row[1:])) for row in self._connection.execute(query, given.bind(refs))]

    def outputs(self, ref: TaskRef) -> dict[str, str | None]:
        rows = self._connection.execute(
            select(tasks.c.name, tasks.c.output)
            .join(needs, and_(needs.c.run == tasks.c.run, needs.c.upstream == tasks.c.n))
            .where(needs.c.run == ref.run, needs.c.n == ref.n)
        )
        return {name: output for name, output in rows}  # noqa: C416 - dict() of rows is not typed

    def in_flight(self, shards: Collection[int]) -> Sequence[TaskRow]:
        return self._select(_light().where(IS_IN_FLIGHT, tasks.c.shard.in_(sorted(shards))))

    def ready(self, shards: Collection[int], lane: str, limit: int) -> Sequence[TaskRow]:
        if not shards:
            return []
        query = line.first(self._connection.dialect.name, line.owned(shards), _LIGHT)
        return [_task(row) for row in self._connection.execute(query, {"lane": lane, "limit": limit})]

    def ready_lanes(self, shards: Collection[int]) -> Sequence[str]:
        return list(self._connection.scalars(line.lanes(line.owned(shards)))) if shards else []

    def lift(self, shards: Collection[int], now: datetime, limit: int) -> set[str]:
        if not shards:
            return set()
        statement = line.lift(self._connection.dialect.name, line.owned(shards))
        given = {"before": line.lifted_before(now), "limit": limit}
        return set(self._connection.scalars(statement, given))

    def due(self, shards: Collection[int], now: datetime, limit: int) -> Sequence[TaskRow]:
        return self._select(
            _light()
            .where(tasks.c.due_at <= now, tasks.c.shard.in_(sorted(shards)))
            .order_by(tasks.c.due_at)
            .limit(limit)
        )

    def attempts(self, ref: TaskRef) -> Sequence[AttemptRow]:
        rows = self._connection.execute(
            select(attempts).where(attempts.c.run == ref.run, attempts.c.n == ref.n).order_by(attempts.c.attempt)
        )
        return [AttemptRow(**row) for row in rows.mappings()]

    def _select(self, query: Select[Any]) -> Sequence[TaskRow]:
        return [_task(row) for row in self._connection.execute(query)]


def _light() -> Select[Any]:
    """Select everything but messages and outputs, which may be large; such rows come without them."""
    return select(*_LIGHT)


def _task(row: Sequence[Any]) -> TaskRow:
    names = _NAMES if len(row) == len(_NAMES) else _LIGHT_NAMES
    task = TaskRow(**dict(zip(names, row, strict=True)))
    task.state = State(task.state)
    return task


@lru_cache
def _refs(dialect: str) -> Rows:
    return Rows(dialect, {"run": Text(), "n": Integer()})
