"""Migrations: numbered, forward only, for both databases. Run by whichever program comes first."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from warrener.errors import Refused

if TYPE_CHECKING:
    from alembic.config import Config

_HERE = Path(__file__).parent
_LOCK = 0x57617272656E6572 >> 2
"""PostgreSQL's advisory lock of migrations: two programs that start at the same time take turns."""


def is_done(connection: Connection) -> bool:
    """Tell whether the tables are at this version, without Alembic: its import is a part of a program's start."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    newest = max(path.name.partition("_")[0] for path in (_HERE / "versions").glob("0*.py"))
    return bool(connection.scalar(text("SELECT version_num FROM alembic_version")) == newest)


def prepare() -> None:
    """Import what `upgrade` needs, before a transaction stands open for it: a database may end one that idles."""
    importlib.import_module("alembic.command")


def take_turn(connection: Connection) -> None:
    """Wait until no other program migrates; until the connection's transaction ends none other will."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def upgrade(connection: Connection) -> None:
    """Bring the tables to this version, within the connection's transaction; raises Refused if they are newer."""
    from alembic import command

    take_turn(connection)
    config = _config()
    newest, known = _of_this_version(config)
    at = current(connection)
    if at is not None and at not in known:
        raise Refused(
            f"a newer version of Warrener has brought the database to migration {at}, and this one knows those up to "
            f"{newest}: upgrade this program"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def current(connection: Connection) -> str | None:
    """Return the migration that the tables are at; None where there are none."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def of_this_version() -> tuple[str, frozenset[str]]:
    """Return the newest migration that this version has, and all of them."""
    return _of_this_version(_config())


def _of_this_version(config: Config) -> tuple[str, frozenset[str]]:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(config)
    return script.get_current_head() or "", frozenset(one.revision for one in script.walk_revisions())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    return config
