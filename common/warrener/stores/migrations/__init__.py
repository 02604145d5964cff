"""Migrations: numbered, forward only, for both databases. Run by whichever program comes first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from warrener.errors import Refused

if TYPE_CHECKING:
    from alembic.config import Config

_HERE = Path(__file__).parent
_LOCK = 0x57617272656E6572 >> 2
"""PostgreSQL's advisory lock of migrations: two programs that start at the same time take turns."""


def upgrade(connection: Connection) -> None:
    """Bring the tables to this version, within the connection's transaction; raises Refused if they are newer.

    Mostly there is nothing to do. Then Alembic is not even imported: that is a part of every program's start.
    """
    if _at(connection) == max(path.name.partition("_")[0] for path in (_HERE / "versions").glob("0*.py")):
        return
    from alembic import command

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
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


def _at(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


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
