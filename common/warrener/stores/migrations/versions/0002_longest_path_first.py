"""The longest expected path to the end of a run, for the order of ready tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("minus_path_s", sa.Double(), nullable=False, server_default="0"))
    op.drop_index("tasks_ready", "tasks")
    op.create_index(
        "tasks_ready",
        "tasks",
        ["lane", "level", "deadline_at", "minus_path_s", "ready_at", "run", "n"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
