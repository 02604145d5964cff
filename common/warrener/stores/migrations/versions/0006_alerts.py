"""Alerts to admins, the letters that tell them, and what finds late tasks and old unfinished runs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("message_id", sa.Text()),
        sa.Column("episode", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("look", sa.Text(), nullable=False),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.Column("over", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("sorted_at", sa.BigInteger()),
        sa.Column("repeats", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("over_at", sa.BigInteger()),
        sa.Column("over_text", sa.Text()),
        sa.Column("acked_at", sa.BigInteger()),
        sa.Column("acked_by", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.UniqueConstraint("message_id", name="alerts_message"),
    )
    _partial("alerts_unsorted", "alerts", ["id"], "sorted_at IS NULL")
    op.create_index("alerts_episode", "alerts", ["episode", "id"])
    op.create_table(
        "letters",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("fold", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("span_s", sa.Double(), nullable=False),
        sa.Column("try_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("taken_by", sa.Text()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("outcome", sa.Text()),
        sa.UniqueConstraint("token", name="letters_token"),
    )
    _partial("letters_waiting", "letters", ["try_at"], "ended_at IS NULL")
    op.create_index("letters_fold", "letters", ["destination", "fold", "id"])
    _partial("runs_open", "runs", ["accepted_at", "id"], "finished_at IS NULL")
    _partial("tasks_late", "tasks", ["deadline_at"], "deadline_at < 253370764800000000 AND finished_at IS NULL")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, unique=False, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
