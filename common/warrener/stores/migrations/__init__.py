"""Migrations: numbered, forward only, for both databases. Run by whichever program comes first."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

_LOCK = 0x57617272656E6572 >> 2
"""PostgreSQL's advisory lock of migrations: two programs that start at the same time take turns."""


def upgrade(connection: Connection) -> None:
    """Bring the tables to this version, within the connection's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
