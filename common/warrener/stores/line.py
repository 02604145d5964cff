"""The line of ready tasks: who stands first, in which lanes, and whom age lifts.

The cost of each statement depends on how many rows it returns, not on how many wait. The index `tasks_ready` begins
with the shard: every owner finds its own first rows, however many of others' stand before them. The first rows of many
shards are merged from as many index scans, each read only as far as the merge needs it.

The statements are text, made once for a set of shards: with 64 branches, building them anew would cost more than
running them.
"""

# ruff: noqa: S608 - the names of our own tables and columns, and numbers of shards

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import BigInteger, ColumnElement, Integer, Text, TextClause, TextualSelect, bindparam, text

from warrener.ordering import BOTTOM, STEP
from warrener.stores.tables import AGEING, to_microseconds

_ORDER = "level, deadline_at, minus_path_s, ready_at, run, n"
_STANDING = "state = 'ready' AND shard = {0} AND lane = :lane"
_UNION = " UNION ALL "
_SQLITE_BRANCHES = 400
"""SQLite takes 500 (https://www.sqlite.org/limits.html, 5). With more shards it sorts all that is ready in the lane."""

_STEP_US = STEP // STEP.resolution


@lru_cache
def first(dialect: str, shards: tuple[int, ...], columns: tuple[ColumnElement[object], ...]) -> TextualSelect:
    """Select the first `limit` ready tasks of a `lane`, in their order."""
    merged = _merged_by_postgresql if dialect == "postgresql" else _merged_by_sqlite
    query = text(merged(shards, [column.name for column in columns]))
    return query.bindparams(bindparam("lane", type_=Text()), bindparam("limit", type_=Integer())).columns(*columns)


def _merged_by_postgresql(shards: Sequence[int], names: Sequence[str]) -> str:
    # Each branch has the order and the limit of the whole: without them all rows of all branches are sorted.
    branches = _UNION.join(
        f"SELECT * FROM (SELECT {', '.join(names)} FROM tasks WHERE {_STANDING.format(shard)}"
        f" ORDER BY {_ORDER} LIMIT :limit) AS s{shard}"
        for shard in shards
    )
    return f"SELECT * FROM ({branches}) AS merged ORDER BY {_ORDER} LIMIT :limit"


def _merged_by_sqlite(shards: Sequence[int], names: Sequence[str]) -> str:
    if len(shards) > _SQLITE_BRANCHES:
        among = f"state = 'ready' AND lane = :lane AND shard IN ({', '.join(map(str, shards))})"
        return f"SELECT {', '.join(names)} FROM tasks WHERE {among} ORDER BY {_ORDER} LIMIT :limit"
    # A row goes through half of all branches, so it has nothing with it but what they are merged by.
    branches = _UNION.join(
        f"SELECT rowid AS place, {_ORDER} FROM tasks WHERE {_STANDING.format(shard)}" for shard in shards
    )
    order = ", ".join(f"merged.{name}" for name in _ORDER.split(", "))
    return (
        f"SELECT {', '.join(f'tasks.{name}' for name in names)}"
        f" FROM ({branches} ORDER BY {_ORDER} LIMIT :limit) AS merged JOIN tasks ON tasks.rowid = merged.place"
        f" ORDER BY {order}"
    )


@lru_cache
def lanes(shards: tuple[int, ...]) -> TextualSelect:
    """Select the lanes that have ready tasks: one step of the index for each shard and lane, not for each task."""
    next_lane = "SELECT lane FROM tasks WHERE state = 'ready' AND shard = {0}.shard{1} ORDER BY lane LIMIT 1"
    owned = ", ".join(f"({shard})" for shard in shards)
    query = text(
        f"WITH RECURSIVE owned(shard) AS (VALUES {owned}), found(shard, lane) AS ("
        f"SELECT shard, ({next_lane.format('owned', '')}) FROM owned"
        f" UNION ALL "
        f"SELECT shard, ({next_lane.format('found', ' AND lane > found.lane')}) FROM found WHERE lane IS NOT NULL"
        f") SELECT DISTINCT lane FROM found WHERE lane IS NOT NULL"
    )
    return query.columns(lane=Text())


@lru_cache
def lift(dialect: str, shards: tuple[int, ...]) -> TextClause:
    """Lift the `limit` ready tasks that have waited longest for it by one level; returns their lanes."""
    row = "ctid" if dialect == "postgresql" else "rowid"
    # With a plus the shard cannot tempt SQLite to another index.
    due = (
        f"SELECT {row} FROM tasks WHERE state = 'ready' AND level > 0 AND {AGEING} <= :before"
        f" AND +shard IN ({', '.join(map(str, shards))}) ORDER BY {AGEING} LIMIT :limit"
    )
    # Found by where the rows are: a join by their key is planned anew, and badly, while statistics are young.
    found = f"ctid = ANY(ARRAY({due}))" if dialect == "postgresql" else f"rowid IN ({due})"
    query = text(f"UPDATE tasks SET level = level - 1 WHERE {found} RETURNING lane")
    return query.bindparams(bindparam("before", type_=BigInteger()), bindparam("limit", type_=Integer()))


def lifted_before(now: datetime) -> int:
    """Return what `AGEING` is at most for a task that stands below its `ordering.aged_level`."""
    return to_microseconds(now) - (BOTTOM + 1) * _STEP_US


def owned(shards: Collection[int]) -> tuple[int, ...]:
    """Return shards as these statements take them."""
    return tuple(sorted(shards))
