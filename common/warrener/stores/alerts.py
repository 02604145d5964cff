"""Alerts: as they come, and as episodes once a desk has sorted them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, false, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from warrener.alerts import Alert
from warrener.errors import Fenced
from warrener.letters import AlertFilter, AlertRow, Sorted
from warrener.stores.tables import alerts

_FIELDS = ("kind", "subject", "text", "severity", "site", "owner", "cause", "look", "excerpt", "over")
_OWN = (
    "id", "at", "episode", "sorted_at", "repeats", "over_at", "over_text", "acked_at", "acked_by", "note",
)  # fmt: skip


class SqlAlerts:
    """Queries over `alerts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def receive(self, alert: Alert, at: datetime, message_id: str) -> None:
        insert = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        fields = {name: getattr(alert, name) for name in (*_FIELDS, "episode")}
        row = {**fields, "severity": str(alert.severity), "at": at, "message_id": message_id}
        self._connection.execute(insert(alerts).values(row).on_conflict_do_nothing(index_elements=["message_id"]))

    def list(self, which: AlertFilter) -> Sequence[AlertRow]:
        query = select(alerts).where(alerts.c.over == false())
        if which.open:
            query = query.where(alerts.c.over_at.is_(None), alerts.c.acked_at.is_(None))
        if which.kinds:
            query = query.where(alerts.c.kind.in_(sorted(which.kinds)))
        if which.severities:
            query = query.where(alerts.c.severity.in_(sorted(which.severities)))
        for name in ("site", "owner", "subject"):
            if (wanted := getattr(which, name)) is not None:
                query = query.where(alerts.c[name] == wanted)
        if which.before is not None:
            query = query.where(alerts.c.id < which.before)
        rows = self._connection.execute(query.order_by(alerts.c.id.desc()).limit(which.limit))
        return [_row(row) for row in rows]

    def load(self, ids: Collection[int]) -> Sequence[AlertRow]:
        if not ids:
            return []
        query = select(alerts).where(alerts.c.id.in_(sorted(ids))).order_by(alerts.c.id)
        return [_row(row) for row in self._connection.execute(query)]

    def ack(self, number: int, by: str, note: str, at: datetime) -> None:
        values = {"acked_at": at, "acked_by": by, "note": note}
        self._connection.execute(update(alerts).where(alerts.c.id == number).values(values))

    def unsorted(self, limit: int) -> Sequence[AlertRow]:
        query = select(alerts).where(alerts.c.sorted_at.is_(None)).order_by(alerts.c.id).limit(limit)
        return [_row(row) for row in self._connection.execute(query)]

    def latest(self, episodes: Collection[str]) -> dict[str, AlertRow]:
        if not episodes:
            return {}
        last = (
            select(func.max(alerts.c.id))
            .where(alerts.c.episode.in_(sorted(episodes)), alerts.c.sorted_at.is_not(None))
            .group_by(alerts.c.episode)
        )
        found = self._connection.execute(select(alerts).where(alerts.c.id.in_(last)))
        return {row.episode: _row(row) for row in found}

    def running(self, kind: str, limit: int, after: int = 0) -> Sequence[AlertRow]:
        query = select(alerts).where(alerts.c.kind == kind, alerts.c.over == false(), alerts.c.over_at.is_(None))
        query = query.where(alerts.c.id > after)
        return [_row(row) for row in self._connection.execute(query.order_by(alerts.c.id).limit(limit))]

    def settle(self, done: Sorted, now: datetime) -> None:
        changed = 0
        if done.kept:
            mine = alerts.c.id.in_(done.kept) & alerts.c.sorted_at.is_(None)
            changed += self._connection.execute(update(alerts).where(mine).values(sorted_at=now)).rowcount
        if done.dropped:
            mine = alerts.c.id.in_(done.dropped) & alerts.c.sorted_at.is_(None)
            changed += self._connection.execute(delete(alerts).where(mine)).rowcount
        if changed != len(done.kept) + len(done.dropped):
            raise Fenced("another desk has sorted these alerts meanwhile")
        if done.repeated:
            again = update(alerts).where(alerts.c.id == bindparam("of"))
            again = again.values(repeats=alerts.c.repeats + bindparam("times"))
            self._connection.execute(again, [{"of": of, "times": times} for of, times in done.repeated.items()])
        if done.over:
            ended = update(alerts).where(alerts.c.id == bindparam("of"), alerts.c.over_at.is_(None))
            ended = ended.values(over_at=bindparam("ended_at"), over_text=bindparam("how"))
            self._connection.execute(ended, [{"of": of, "ended_at": at, "how": how} for of, at, how in done.over])


def _row(row: Row[Any]) -> AlertRow:
    alert = Alert(**{name: getattr(row, name) for name in _FIELDS})
    return AlertRow(alert=alert, **{name: getattr(row, name) for name in _OWN})
