"""The inbox and the outbox."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select

from warrener.broker import Message
from warrener.stores.tables import inbox, outbox


class SqlMail:
    """Queries over `inbox` and `outbox`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def handled(self, message_ids: Sequence[str]) -> set[str]:
        query = select(inbox.c.message_id).where(inbox.c.message_id.in_(message_ids))
        return set(self._connection.scalars(query))

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
