"""Runs and the definitions they execute."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, and_, func, select, text

from warrener.ids import RunId
from warrener.store import RunFilter, RunRow
from warrener.stores.rows import Rows
from warrener.stores.tables import runs, workflows

_COLUMNS = (
    runs.c.id, runs.c.shard, runs.c.owner, runs.c.key, runs.c.workflow, runs.c.digest, runs.c.params,
    runs.c.priority, runs.c.logical_time, runs.c.state, runs.c.accepted_at, runs.c.tasks, runs.c.unfinished,
    runs.c.failed, runs.c.cancelled, runs.c.site, runs.c.finished_at,
)  # fmt: skip
_NAMES = tuple(column.name for column in _COLUMNS)


class SqlRuns:
    """Queries over `runs` and `workflows`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def definition(self, digest: str) -> str | None:
        found: str | None = self._connection.scalar(select(workflows.c.definition).where(workflows.c.digest == digest))
        return found

    def known(self, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], RunRow]:
        query, given = _known(self._connection.dialect.name)
        rows = [_run(row) for row in self._connection.execute(query, given.bind(names))]
        return {(run.owner, run.key): run for run in rows}

    def accepted(self, shards: Collection[int], limit: int) -> Sequence[tuple[RunRow, str]]:
        rows = self._connection.execute(
            select(*_COLUMNS, workflows.c.definition)
            .join(workflows, workflows.c.digest == runs.c.digest)
            .where(text("runs.state = 'accepted'"), runs.c.shard.in_(sorted(shards)))  # as the index `runs_accepted`
            .order_by(runs.c.id)
            .limit(limit)
        )
        return [(RunRow(**dict(zip(_NAMES, row, strict=False))), row.definition) for row in rows]

    def count_accepted(self, most: int) -> int:
        some = select(runs.c.shard).where(text("runs.state = 'accepted'")).limit(most)  # as the index `runs_accepted`
        return self._connection.scalar(select(func.count()).select_from(some.subquery())) or 0

    def load(self, ids: Collection[RunId]) -> dict[RunId, RunRow]:
        if not ids:
            return {}
        given = _texts(self._connection.dialect.name)
        query: Select[Any] = select(*_COLUMNS).join(given.table, runs.c.id == given.table.c.text)
        rows = [_run(row) for row in self._connection.execute(query, given.bind((one,) for one in ids))]
        return {run.id: run for run in rows}

    def sites(self, shards: Collection[int]) -> dict[RunId, str]:
        rows = self._connection.execute(
            select(runs.c.id, runs.c.site).where(
                runs.c.shard.in_(sorted(shards)), runs.c.finished_at.is_(None), runs.c.site.is_not(None)
            )
        )
        return {RunId(run): site for run, site in rows}

    def find(self, prefix: str) -> Sequence[RunRow]:
        return self._select(
            select(*_COLUMNS)
            .where(runs.c.id >= prefix.ljust(16, "0"), runs.c.id <= prefix.ljust(16, "z"))
            .order_by(runs.c.id)
            .limit(3)
        )

    def list(self, which: RunFilter) -> Sequence[RunRow]:
        query = select(*_COLUMNS).order_by(runs.c.id.desc()).limit(which.limit)
        if which.states:
            query = query.where(runs.c.state.in_(which.states))
        if which.owner is not None:
            query = query.where(runs.c.owner == which.owner)
        if which.workflow is not None:
            query = query.where(runs.c.workflow == which.workflow)
        if which.before is not None:
            query = query.where(runs.c.id < which.before)
        return self._select(query)

    def _select(self, query: Select[Any]) -> Sequence[RunRow]:
        return [_run(row) for row in self._connection.execute(query)]


def _run(row: Row[Any]) -> RunRow:
    return RunRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


@lru_cache
def _texts(dialect: str) -> Rows:
    return Rows(dialect, {"text": Text()})


@lru_cache
def _known(dialect: str) -> tuple[Select[Any], Rows]:
    given = Rows(dialect, {"owner": Text(), "key": Text()})
    name = given.table.c
    return select(*_COLUMNS).join(given.table, and_(runs.c.owner == name.owner, runs.c.key == name.key)), given
