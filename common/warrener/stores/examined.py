"""A look at a database from outside, for whoever wants to know whether it would do; it changes nothing."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, text

from warrener.errors import StoreUnavailable
from warrener.stores import migrations
from warrener.stores.sql import open_store, read_url

_MATTER = ("server_version", "synchronous_commit", "fsync", "full_page_writes")


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """A database that lets us in."""

    product: str
    version: str
    migration: str | None
    """What its tables were brought to; None when there are none yet."""
    newest: str
    """What this version of Warrener would bring them to."""
    known: bool
    """Whether this version knows that migration; if not, a newer one has been here."""
    settings: Mapping[str, str]
    clock_s: float
    """How far its clock is ahead of ours, in seconds."""


async def examine(url: str) -> StoreSeen:
    """Look at a database; raises StoreUnavailable or InvalidSettings, which say why it is of no use."""
    parsed = read_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():  # noqa: ASYNC240 - one look
        raise StoreUnavailable(f"there is no {parsed.database} yet; the first program that starts makes it")
    migrations.prepare()  # before a transaction stands open for it
    newest, known = migrations.of_this_version()
    store = open_store(url)
    try:
        return await store.look(lambda connection: _look(connection, newest, known))
    finally:
        await store.close()


def _look(connection: Connection, newest: str, known: Container[str]) -> StoreSeen:
    at = migrations.current(connection)
    name = connection.dialect.name
    if name == "postgresql":
        settings = {one: str(connection.scalar(text(f"SHOW {one}"))) for one in _MATTER}
        clock_s = _ahead_s(connection)
    else:
        settings, clock_s = {"server_version": str(connection.scalar(text("SELECT sqlite_version()")))}, 0.0
    return StoreSeen(
        product={"postgresql": "PostgreSQL", "sqlite": "SQLite"}.get(name, name),
        version=settings["server_version"],
        migration=at,
        newest=newest,
        known=at is None or at in known,
        settings=settings,
        clock_s=clock_s,
    )


def _ahead_s(connection: Connection) -> float:
    """Return how far the database's clock is ahead of ours, give or take half of the time that asking takes."""
    asked = datetime.now(UTC)
    theirs: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return (theirs - asked - (datetime.now(UTC) - asked) / 2).total_seconds()
