"""Writing the changes of a tick: the fewest statements that each database can do it in.

PostgreSQL gets one statement, whose parts are common table expressions over arrays: one round trip, one transaction by
itself, its rows a parameter for each column (https://www.postgresql.org/docs/current/queries-with.html, 7.8.4). SQLite
gets one prepared statement for each sort of rows. Both are written here and not compiled by SQLAlchemy, whose way of
making parameters costs more than all else that a scheduler does.
"""

# ruff: noqa: S608 - the names of our own tables and columns; every value is a parameter

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from warrener.alerts import Alert
from warrener.broker import Message
from warrener.errors import Fenced
from warrener.ids import shard_of
from warrener.store import Changes, ParkedMessage, TaskChange
from warrener.stores.tables import (
    Moment,
    alerts,
    attempts,
    deaths,
    inbox,
    intents,
    logs,
    needs,
    outbox,
    parked,
    penalties,
    runs,
    strays,
    tasks,
    to_microseconds,
    workflows,
)

Columns = list[Sequence[Any]]
_DIVISION_BY_ZERO = "22012"
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_RUN_CHANGES = ("state", "tasks", "unfinished", "failed", "cancelled", "site", "finished_at")
_TASK_CHANGES = (
    "state", "unmet", "level", "ready_at", "due_at", "attempt", "tries", "worker", "boot", "ordered_at", "started_at",
    "finished_at", "cause", "message", "exit_code", "output",
)  # fmt: skip


_HELD = ("worker", "boot")
_ENDED = ("started_at", "finished_at", "output")
_FAILED = ("cause", "message", "exit_code")
_RENDERED = ("section", "templated")
"""Written when templates were filled in; else nothing is given for them, and they stay."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What becomes of one field of `Changes`: rows of a table that are inserted, updated, or deleted.

    `columns`: those of the table that each given row has a value for; an update finds its row by the first `guards` of
    them, and sets the others. `once`: a row that is there already stays as it is. `anew`: it is replaced. `sparse`:
    groups of columns that most ticks have nothing for; PostgreSQL is not given a group without a single value.
    """

    field: str
    how: Literal["insert", "update", "delete"]
    table: Table
    columns: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]
    guards: int = 0
    once: bool = False
    anew: bool = False
    sparse: tuple[tuple[str, ...], ...] = ()

    def empty(self, columns: Columns) -> frozenset[str]:
        """Return the columns of the sparse groups that hold nothing."""
        by_name = dict(zip(self.columns, columns, strict=True))
        groups = (group for group in self.sparse if all(_holds_nothing(by_name[name]) for name in group))
        return frozenset(name for group in groups for name in group)

    def given(self, changes: Changes) -> Columns:
        """Return the rows by columns, as the databases keep them; empty without rows."""
        columns: Columns = list(zip(*map(self.values, getattr(changes, self.field)), strict=True))
        if columns:
            for place in _moments(self.table, self.columns):
                columns[place] = [None if moment is None else to_microseconds(moment) for moment in columns[place]]
        return columns


def _holds_nothing(column: Sequence[Any]) -> bool:
    return column.count(None) == len(column)


def _outgoing(posted: tuple[int, Message]) -> tuple[Any, ...]:
    shard, message = posted
    return (
        message.message_id, shard, message.exchange, message.routing_key, message.kind, message.body, message.priority,
        message.mandatory, message.correlation_id, json.dumps(dict(message.headers)),
    )  # fmt: skip


_moved = attrgetter("row.run", "row.n", "was", "was_attempt", *(f"row.{name}" for name in _TASK_CHANGES))


def _change(change: TaskChange) -> tuple[Any, ...]:
    section = change.row.section if change.rendered else None
    return (*_moved(change), section, None if section is None else False)


def _parked(row: ParkedMessage) -> tuple[Any, ...]:
    return (
        row.message_id, row.reason, row.exchange, row.routing_key, row.kind, row.body, json.dumps(dict(row.headers)),
        row.at,
    )  # fmt: skip


_ALERT = ("episode", "kind", "subject", "severity", "site", "owner", "text", "cause", "look", "excerpt", "over", "at")
_alert_fields = attrgetter(*_ALERT[:-1])


def _alerted(one: tuple[Alert, datetime]) -> tuple[Any, ...]:
    alert, at = one
    return (*_alert_fields(alert), at)


def _rows(field: str, table: Table, values: Callable[[Any], tuple[Any, ...]] | None = None, **how: Any) -> _Part:
    """Insert rows; an id that counts up is the database's to give."""
    names = tuple(column.name for column in table.c if column.autoincrement is not True)
    return _Part(field, "insert", table, names, values or attrgetter(*names), **how)


_PARTS = (
    _rows("definitions", workflows, once=True),
    _rows("new_runs", runs),
    _rows("new_tasks", tasks, sparse=(_HELD + _ENDED + _FAILED,)),
    _rows("needs", needs, tuple),
    _Part("tasks", "update", tasks, ("run", "n", "state", "attempt", *_TASK_CHANGES, *_RENDERED), _change, guards=4,
          sparse=(_HELD, _ENDED, _FAILED, _RENDERED)),
    _Part("runs", "update", runs, ("id", *_RUN_CHANGES), attrgetter("id", *_RUN_CHANGES), guards=1),
    _rows("attempts", attempts),
    _rows("posted", outbox, _outgoing),
    _Part("sent", "delete", outbox, ("message_id",), lambda one: (one,)),
    _rows("handled", inbox, tuple),
    _rows("wanted", intents, lambda one: (shard_of(one[0]), *one)),
    _Part("done", "delete", intents, ("id",), lambda one: (one,)),
    _rows("logs", logs, once=True),
    _rows("strays", strays),
    _rows("parked", parked, _parked, once=True),
    _Part("alerts", "insert", alerts, _ALERT, _alerted),
    _rows("deaths", deaths, once=True),
    _Part("returned", "delete", deaths, ("boot",), lambda one: (one,)),
    _Part("pardoned", "delete", deaths, ("run",), lambda one: (one,)),
    _rows("penalties", penalties, anew=True),
    _Part("cleared", "delete", penalties, ("host",), lambda one: (one,)),
)  # fmt: skip
_GUARDED = "tasks"


@lru_cache
def _moments(table: Table, columns: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(place for place, name in enumerate(columns) if isinstance(table.c[name].type, Moment))


def _filled(changes: Changes) -> Iterator[tuple[_Part, Columns]]:
    for part in _PARTS:
        if getattr(changes, part.field):
            yield part, part.given(changes)


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────


def write_to_postgresql(connection: Connection, changes: Changes) -> None:
    """Write in one statement. Raises Fenced; the statement has failed then, and the transaction with it."""
    arguments: list[Sequence[Any]] = [list(changes.epochs), list(changes.epochs.values())] if changes.epochs else []
    parts: list[tuple[_Part, frozenset[str]]] = []
    for part, columns in _filled(changes):
        empty = part.empty(columns)
        parts.append((part, empty))
        arguments.extend(column for name, column in zip(part.columns, columns, strict=True) if name not in empty)
    if not arguments:
        return
    statement = _statement(tuple(parts), fenced=bool(changes.epochs))
    try:
        connection.exec_driver_sql(statement, tuple(arguments))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _DIVISION_BY_ZERO:
            raise
        raise Fenced("shards belong to another scheduler by now, or tasks were changed by somebody else") from None


@lru_cache(maxsize=256)
def _statement(parts: tuple[tuple[_Part, frozenset[str]], ...], *, fenced: bool) -> str:
    """Write the statement for these sorts of rows. It divides by zero when a fence or a guard does not hold."""
    expressions: list[str] = []
    checks: list[str] = []
    number = 1
    if fenced:
        # In the order of the shards, as whoever takes them, and shared: it holds a new owner off until our commit, but
        # not our own beat.
        expressions.append(
            "held AS (SELECT shard, epoch FROM shards WHERE shard = ANY($1::smallint[]) ORDER BY shard FOR KEY SHARE)"
        )
        checks.append(
            "(SELECT count(*) FROM held JOIN unnest($1::smallint[], $2::bigint[]) AS ours (shard, epoch)"
            " USING (shard, epoch)) = cardinality($1)"
        )
        number = 3
    for part, empty in parts:
        given = [name for name in part.columns if name not in empty]
        arrays = [
            f"${place}::{part.table.c[name].type.compile(_DIALECT)}[]" for place, name in enumerate(given, start=number)
        ]
        expressions.append(f"{part.field}_ AS ({_EXPRESSIONS[part.how](part, given, ', '.join(arrays))} RETURNING 1)")
        if part.field == _GUARDED:
            checks.append(f"(SELECT count(*) FROM {part.field}_) = cardinality(${number})")
        number += len(given)
    return f"WITH {', '.join(expressions)} SELECT 1 / ({' AND '.join(checks) or 'true'})::int"


def _insert(part: _Part, given: Sequence[str], arrays: str) -> str:
    rows = f"SELECT * FROM unnest({arrays})"
    return f"INSERT INTO {part.table.name} ({_listed(given)}) {rows}{_where_there(part)}"


def _update(part: _Part, given: Sequence[str], arrays: str) -> str:
    values = [f"v{place}" for place in range(len(given))]
    pairs = list(zip(given, values, strict=True))
    found = " AND ".join(f't."{name}" = {value}' for name, value in pairs[: part.guards])
    nothing = [(name, "NULL") for name in part.columns if name not in given]
    changed = _set([*pairs[part.guards :], *nothing], "t")
    return f"UPDATE {part.table.name} AS t SET {changed} FROM unnest({arrays}) AS v ({', '.join(values)}) WHERE {found}"


def _delete(part: _Part, given: Sequence[str], arrays: str) -> str:
    return f"DELETE FROM {part.table.name} WHERE {_listed(given)} = ANY({arrays})"


def _set(pairs: Sequence[tuple[str, str]], table: str) -> str:
    return ", ".join(
        f'"{name}" = coalesce({value}, {table}."{name}")' if name in _RENDERED else f'"{name}" = {value}'
        for name, value in pairs
    )


def _where_there(part: _Part) -> str:
    if not part.anew:
        return " ON CONFLICT DO NOTHING" if part.once else ""
    key = [column.name for column in part.table.primary_key.columns]
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in part.columns if name not in key)
    return f" ON CONFLICT ({_listed(key)}) DO UPDATE SET {changed}"


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


_EXPRESSIONS: dict[str, Callable[[_Part, Sequence[str], str], str]] = {
    "insert": _insert,
    "update": _update,
    "delete": _delete,
}


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_to_sqlite(connection: Connection, changes: Changes) -> None:
    """Write one statement for each sort of rows. Raises Fenced when a guard does not hold."""
    for part, columns in _filled(changes):
        written = connection.exec_driver_sql(_statement_for_rows(part), list(zip(*columns, strict=True)))
        if part.field == _GUARDED and written.rowcount != len(changes.tasks):
            missed = len(changes.tasks) - written.rowcount
            raise Fenced(f"{missed} of {len(changes.tasks)} tasks were changed by somebody else")


@lru_cache
def _statement_for_rows(part: _Part) -> str:
    pairs = [(name, f"?{place}") for place, name in enumerate(part.columns, start=1)]
    values = ", ".join(value for _, value in pairs)
    found = " AND ".join(f'"{name}" = {value}' for name, value in pairs[: part.guards or len(pairs)])
    if part.how == "insert":
        return f"INSERT INTO {part.table.name} ({_listed(part.columns)}) VALUES ({values}){_where_there(part)}"
    if part.how == "delete":
        return f"DELETE FROM {part.table.name} WHERE {found}"
    return f"UPDATE {part.table.name} SET {_set(pairs[part.guards :], part.table.name)} WHERE {found}"
