"""What was configured for all programs of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from warrener.store import ConfiguredRow
from warrener.stores.tables import configuration, deployment


class SqlConfiguration:
    """A row for each name that was ever set, with the version at which it changed last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> Sequence[ConfiguredRow]:
        rows = self._connection.execute(select(configuration).order_by(configuration.c.name))
        return [ConfiguredRow(row.name, row.value, row.version, row.at) for row in rows]

    def set(self, name: str, value: str | None, at: datetime) -> int:
        self._connection.execute(
            select(deployment).with_for_update()
        )  # one after another; SQLite has one writer anyway
        newest = select(func.coalesce(func.max(configuration.c.version), 0))
        version: int = self._connection.execute(newest).scalar_one() + 1
        values = {"value": value, "version": version, "at": at}
        changed = update(configuration).where(configuration.c.name == name).values(values)
        if not self._connection.execute(changed).rowcount:
            self._connection.execute(insert(configuration), {"name": name, **values})
        return version
