"""What takes longer than it should."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from warrener.letters import LateTask, OpenRun
from warrener.stores.tables import HAS_DEADLINE, IS_READY, runs, tasks

_MOST_TASKS = 20_000
_RUN = (
    runs.c.id, runs.c.workflow, runs.c.owner, runs.c.site, runs.c.state, runs.c.accepted_at, runs.c.unfinished,
    runs.c.tasks,
)  # fmt: skip


class SqlDelays:
    """Queries over unfinished runs and tasks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def late(self, after: tuple[datetime, str, int], now: datetime, limit: int) -> Sequence[LateTask]:
        moment, run, n = after
        further = (tasks.c.run > run) | ((tasks.c.run == run) & (tasks.c.n > n))
        first = (
            select(tasks)
            .where(HAS_DEADLINE, tasks.c.deadline_at >= moment, tasks.c.deadline_at <= now)
            .where((tasks.c.deadline_at > moment) | further)
            .order_by(tasks.c.deadline_at, tasks.c.run, tasks.c.n)
            .limit(limit)
            .subquery()
        ).c
        query = select(
            first.run, first.n, first.name, first.workflow, runs.c.owner, func.coalesce(runs.c.site, ""), first.state,
            first.deadline_at,
        ).join(runs, runs.c.id == first.run)  # fmt: skip
        rows = self._connection.execute(query.order_by(first.deadline_at, first.run, first.n))
        return [LateTask(*row) for row in rows]

    def open_runs(self, after: tuple[datetime, str], before: datetime, limit: int) -> Sequence[OpenRun]:
        query = select(*_RUN).where(runs.c.finished_at.is_(None), runs.c.accepted_at <= before)
        moment, run = after
        query = query.where(runs.c.accepted_at >= moment, (runs.c.accepted_at > moment) | (runs.c.id > run))
        page: list[Any] = []
        expected = 0
        for row in self._connection.execute(query.order_by(runs.c.accepted_at, runs.c.id).limit(limit)).all():
            expected += row.tasks
            if page and expected > _MOST_TASKS:
                break
            page.append(row)
        return self._moved(page)

    def runs(self, ids: Collection[str]) -> dict[str, OpenRun]:
        found = select(*_RUN).where(runs.c.id.in_(sorted(ids)), runs.c.finished_at.is_(None)) if ids else None
        rows = [] if found is None else self._connection.execute(found).all()
        return {run.run: run for run in self._moved(rows)}

    def _moved(self, rows: Sequence[Any]) -> list[OpenRun]:
        """Add to runs when something last happened to one of their tasks."""
        steps = (tasks.c.ready_at, tasks.c.ordered_at, tasks.c.started_at, tasks.c.finished_at)
        query = select(tasks.c.run, *(func.max(step) for step in steps)).group_by(tasks.c.run)
        found = self._connection.execute(query.where(tasks.c.run.in_([row.id for row in rows]))) if rows else ()
        moved = {run: [moment for moment in moments if moment is not None] for run, *moments in found}
        return [
            OpenRun(
                run=row.id, workflow=row.workflow, owner=row.owner, site=row.site or "", state=row.state,
                accepted_at=row.accepted_at, moved_at=max([row.accepted_at, *moved.get(row.id, ())]),
                unfinished=row.unfinished, tasks=row.tasks,
            )
            for row in rows
        ]  # fmt: skip

    def count_ready(self, most: int) -> int:
        some = select(tasks.c.n).where(IS_READY).limit(most).subquery()
        return self._connection.scalar(select(func.count()).select_from(some)) or 0
