"""Indexes and storage for a million waiting tasks, and for runs that are over."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_READY = sa.text("state = 'ready'")
_ACCEPTED = sa.text("state = 'accepted'")
_OVER = sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    op.drop_index("tasks_ready", "tasks")
    op.create_index(
        "tasks_ready",
        "tasks",
        ["shard", "lane", "level", "deadline_at", "minus_path_s", "ready_at", "run", "n"],
        sqlite_where=_READY,
        postgresql_where=_READY,
    )
    op.execute(
        "CREATE INDEX tasks_ageing ON tasks ((ready_at - CAST(priority + level AS BIGINT) * 600000000))"
        " WHERE state = 'ready' AND level > 0"
    )
    op.drop_index("runs_accepted", "runs")
    op.create_index("runs_accepted", "runs", ["id"], sqlite_where=_ACCEPTED, postgresql_where=_ACCEPTED)
    op.create_index("runs_over", "runs", ["shard", "finished_at", "id"], sqlite_where=_OVER, postgresql_where=_OVER)
    if op.get_bind().dialect.name == "postgresql":
        _tend_tables()


def _tend_tables() -> None:
    """Let PostgreSQL clean up by the number of dead rows, not by a share of a table that may be large.

    Every task is rewritten three times in its life, every message of the outbox lives for milliseconds. `runs` keeps
    room in its pages: its counts change in place, without a new entry in any index.
    """
    op.execute(
        "ALTER TABLE tasks SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 20000,"
        " autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 20000, fillfactor = 90)"
    )
    op.execute("ALTER TABLE runs SET (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80)")
    op.execute(
        "ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,"
        " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000)"
    )
    op.execute("ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 20000)")
