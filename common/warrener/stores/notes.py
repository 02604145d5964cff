"""Intents, logs, evidence and parked messages."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from warrener.ids import TaskRef
from warrener.store import Intent, LogPiece, ParkedMessage, Stray
from warrener.stores.tables import intents, logs, parked, strays

_STRAY_NAMES = ("run", "n", "attempt", "worker", "reason", "report", "at")


class SqlNotes:
    """Queries over `intents`, `logs`, `strays` and `parked`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def intents(self, shards: Collection[int], limit: int) -> Sequence[Intent]:
        rows = self._connection.execute(
            select(intents.c.id, intents.c.run, intents.c.what)
            .where(intents.c.shard.in_(sorted(shards)))
            .order_by(intents.c.id)
            .limit(limit)
        )
        return [Intent(*row) for row in rows]

    def logs(self, ref: TaskRef, attempt: int, stream: str, start: int, limit: int) -> Sequence[LogPiece]:
        rows = self._connection.execute(
            select(logs.c.run, logs.c.n, logs.c.attempt, logs.c.stream, logs.c.start, logs.c.text)
            .where(logs.c.run == ref.run, logs.c.n == ref.n, logs.c.attempt == attempt)
            .where(logs.c.stream == stream, logs.c.start >= start)
            .order_by(logs.c.start)
            .limit(limit)
        )
        return [LogPiece(*row) for row in rows]

    def strays(self, ref: TaskRef) -> Sequence[Stray]:
        rows = self._connection.execute(
            select(*(strays.c[name] for name in _STRAY_NAMES))
            .where(strays.c.run == ref.run, strays.c.n == ref.n)
            .order_by(strays.c.id)
        )
        return [Stray(*row) for row in rows]

    def parked(self, limit: int) -> Sequence[ParkedMessage]:
        rows = self._connection.execute(select(parked).order_by(parked.c.id.desc()).limit(limit))
        return [_parked(row) for row in rows]

    def parked_one(self, number: int) -> ParkedMessage | None:
        row = self._connection.execute(select(parked).where(parked.c.id == number)).one_or_none()
        return None if row is None else _parked(row)

    def unpark(self, number: int) -> None:
        self._connection.execute(delete(parked).where(parked.c.id == number))


def _parked(row: Row[Any]) -> ParkedMessage:
    return ParkedMessage(
        id=row.id,
        message_id=row.message_id,
        reason=row.reason,
        exchange=row.exchange,
        routing_key=row.routing_key,
        kind=row.kind,
        body=bytes(row.body),
        headers=json.loads(row.headers),
        at=row.at,
    )
