"""The inbox and the outbox."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Delete, Text, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from warrener.broker import Message
from warrener.stores.rows import Rows
from warrener.stores.tables import inbox, outbox, to_microseconds


class SqlMail:
    """Queries over `inbox` and `outbox`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fresh(self, message_ids: Sequence[str], now: datetime) -> set[str]:
        statement, given = _record(self._connection.dialect.name)
        moment = to_microseconds(now)
        unique = dict.fromkeys(message_ids)
        return set(self._connection.scalars(statement, given.bind((one, moment) for one in unique)))

    def post(self, messages: Sequence[tuple[int, Message]]) -> None:
        if messages:
            self._connection.execute(
                insert(outbox),
                [
                    {
                        "message_id": message.message_id,
                        "shard": shard,
                        "exchange": message.exchange,
                        "routing_key": message.routing_key,
                        "kind": message.kind,
                        "body": message.body,
                        "priority": message.priority,
                        "mandatory": message.mandatory,
                        "correlation_id": message.correlation_id,
                        "headers": json.dumps(dict(message.headers)),
                    }
                    for shard, message in messages
                ],
            )

    def sent(self, message_ids: Sequence[str]) -> None:
        if message_ids:
            statement, given = _sent(self._connection.dialect.name)
            self._connection.execute(statement, given.bind((one,) for one in message_ids))

    def unsent(self, shards: Collection[int], limit: int) -> Sequence[Message]:
        rows = self._connection.execute(select(outbox).where(outbox.c.shard.in_(sorted(shards))).limit(limit))
        return [
            Message(
                exchange=row.exchange,
                routing_key=row.routing_key,
                kind=row.kind,
                body=bytes(row.body),
                message_id=row.message_id,
                priority=row.priority,
                mandatory=row.mandatory,
                correlation_id=row.correlation_id,
                headers=json.loads(row.headers),
            )
            for row in rows
        ]

    def forget(self, before: datetime, limit: int) -> int:
        old = select(inbox.c.message_id).where(inbox.c.at < before).limit(limit)
        return self._connection.execute(delete(inbox).where(inbox.c.message_id.in_(old))).rowcount


@lru_cache
def _record(dialect: str) -> tuple[Any, Rows]:
    given = Rows(dialect, {"message_id": Text(), "at": BigInteger()})
    source = select(given.table.c.message_id, given.table.c.at)
    if dialect == "postgresql":
        statement: Any = insert_postgresql(inbox).from_select(["message_id", "at"], source).on_conflict_do_nothing()
    else:
        # SQLite takes "ON" for a join's unless the SELECT has a WHERE (https://www.sqlite.org/lang_upsert.html, 2.2).
        source = source.where(given.table.c.at.is_not(None))
        statement = insert_sqlite(inbox).from_select(["message_id", "at"], source).on_conflict_do_nothing()
    return statement.returning(inbox.c.message_id), given


@lru_cache
def _sent(dialect: str) -> tuple[Delete, Rows]:
    given = Rows(dialect, {"message_id": Text()})
    return delete(outbox).where(outbox.c.message_id.in_(select(given.table.c.message_id))), given
