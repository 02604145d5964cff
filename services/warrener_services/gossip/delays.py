"""What only a look into the database tells: deadlines that passed, runs that do not move, too much that waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from shlex import quote

from warrener.alerts import Alert, AlertKind, episode_of
from warrener.letters import AlertRow, LateTask, OpenRun
from warrener.store import Store, Transaction

_PAGE = 500
_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_ANEW_EVERY = timedelta(minutes=10)
_STUCK_EVERY = timedelta(minutes=1)
Raised = list[tuple[Alert, datetime]]


class DelayWatch:
    """Looks; what it finds again and again is one episode, which the desk knows."""

    def __init__(self, store: Store, *, backlog: int, stuck: timedelta) -> None:
        self._store, self._backlog, self._stuck = store, backlog, stuck
        self._late_after = (_BEGIN, "", 0)
        self._late_anew_at: datetime | None = None
        self._open_after = (_BEGIN, "")
        self._told_after = 0
        self._stuck_at: datetime | None = None
        self._was_over: bool | None = None
        self._piled_at: datetime | None = None

    async def look(self, now: datetime) -> Raised:
        """Return what is to be alerted now. Raises StoreUnavailable."""
        found = await self._late(now)
        found += await self._waiting(now)
        if self._stuck_at is None or now - self._stuck_at >= _STUCK_EVERY:
            self._stuck_at = now
            found += await self._stuck_runs(now)
        return found

    async def _late(self, now: datetime) -> Raised:
        if self._late_anew_at is None or now - self._late_anew_at >= _ANEW_EVERY:
            # Now and then from the beginning: a deadline may have passed before its task was written.
            self._late_after, self._late_anew_at = (_BEGIN, "", 0), now
        tasks = await self._store.read(lambda tx: tx.delays.late(self._late_after, now, _PAGE))
        if tasks:
            self._late_after = (tasks[-1].deadline_at, tasks[-1].run, tasks[-1].n)
        return [(_late(task), now) for task in tasks]

    async def _waiting(self, now: datetime) -> Raised:
        most = self._backlog + 1

        def count(tx: Transaction) -> tuple[int, int]:
            return tx.delays.count_ready(most), tx.runs.count_accepted(most)

        ready, accepted = await self._store.read(count)
        number = ready + accepted
        if number > self._backlog:
            if self._piled_at is not None and now - self._piled_at < _ANEW_EVERY:
                return []
            self._piled_at, self._was_over = now, False
            return [(_backlog(self._backlog), now)]
        if 2 * number <= self._backlog and self._was_over is not True:
            self._piled_at, self._was_over = None, True
            return [(Alert(AlertKind.BACKLOG, "all", f"{number:,} tasks and runs wait.", over=True), now)]
        return []

    async def _stuck_runs(self, now: datetime) -> Raised:
        before = now - self._stuck
        return await self._stuck_now(before, now) + await self._stuck_no_more(before, now)

    async def _stuck_now(self, before: datetime, now: datetime) -> Raised:
        page = await self._store.read(lambda tx: tx.delays.open_runs(self._open_after, before, _PAGE))
        self._open_after = (page[-1].accepted_at, page[-1].run) if page else (_BEGIN, "")
        stuck = {episode_of(AlertKind.RUN_STUCK, run.run): run for run in page if run.moved_at <= before}
        told = await self._store.read(lambda tx: tx.alerts.latest(stuck))
        running = {episode for episode, row in told.items() if row.over_at is None}
        return [(_stuck(run, now), now) for episode, run in stuck.items() if episode not in running]

    async def _stuck_no_more(self, before: datetime, now: datetime) -> Raised:
        """Look which of those that were told are stuck no more, some at a time."""

        def look(tx: Transaction) -> tuple[Sequence[AlertRow], Mapping[str, OpenRun]]:
            rows = tx.alerts.running(AlertKind.RUN_STUCK, _PAGE, self._told_after)
            return rows, tx.delays.runs([row.alert.subject for row in rows])

        rows, still = await self._store.read(look)
        self._told_after = rows[-1].id if len(rows) == _PAGE else 0
        found: Raised = []
        for name in (row.alert.subject for row in rows):
            run = still.get(name)
            if run is None or run.moved_at > before:
                what = "has ended" if run is None else "moves again"
                found.append((Alert(AlertKind.RUN_STUCK, name, f"Run {name} {what}.", over=True), now))
        return found


def _late(task: LateTask) -> Alert:
    return Alert(
        AlertKind.DEADLINE_MISSED,
        f"{task.run}/{task.name}",
        f"{task.name} of {task.workflow} has no result, and it was due at {task.deadline_at:%Y-%m-%d %H:%M:%S} UTC;"
        f" it is {task.state}.",
        site=task.site,
        owner=task.owner,
        cause="It or what it needs took longer than expected, or waited for workers with room.",
        look=f"warrener why {quote(f'{task.run}/{task.name}')}",
    )


def _backlog(threshold: int) -> Alert:
    return Alert(
        AlertKind.BACKLOG,
        "all",
        f"More than {threshold:,} tasks are ready, or runs wait to be taken up (WARRENER_ALERT_BACKLOG).",
        cause="Work comes in faster than the workers do it, too few workers run, or no scheduler does.",
        look="warrener workers",
    )


def _stuck(run: OpenRun, now: datetime) -> Alert:
    hours = (now - run.moved_at).total_seconds() / 3600
    done = f"{run.tasks - run.unfinished} of {run.tasks} tasks are done" if run.tasks else "no scheduler took it up"
    return Alert(
        AlertKind.RUN_STUCK,
        run.run,
        f"Nothing has happened to run {run.run} of {run.workflow} for {hours:.1f} h; {done}.",
        site=run.site,
        owner=run.owner,
        cause="A task runs or is held for long, or waits for workers that are not there.",
        look=f"warrener why {run.run}",
    )
