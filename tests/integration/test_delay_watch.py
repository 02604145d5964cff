"""What only a look into the database tells: late tasks, stuck runs, a backlog."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from warrener.alerts import AlertKind
from warrener.ids import RunId, new_run_id
from warrener.letters import Sorted
from warrener.states import State
from warrener.store import Changes, RunRow, TaskChange, TaskRow, Transaction
from warrener.stores import open_store
from warrener.stores.sql import SqlStore
from warrener.stores.tables import NEVER
from warrener_services.gossip.delays import DelayWatch

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_rng = Random(1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await store.migrate(shards=4)
    yield store
    await store.close()


async def add(store: SqlStore, number: int, **task: Any) -> RunId:
    run = new_run_id(NOW, 1, _rng)
    rows = [
        TaskRow(
            **{
                "run": run, "n": n, "shard": 1, "name": f"t{n}", "kind": "job", "lane": "job", "workflow": "w",
                "section": "{}", "templated": False, "policy": "{}", "priority": 4, "weight": 1, "deadline_at": NEVER,
                "fanout": 0, "state": State.READY, "unmet": 0, "level": 5, "ready_at": NOW, **task,
            }
        )
        for n in range(number)
    ]  # fmt: skip
    row = RunRow(run, 1, "ada", str(run), "w", "d", "{}", None, None, "running", NOW, number, number)
    await store.transact(lambda tx: tx.write(Changes(new_runs=[row], new_tasks=rows)))
    return run


async def looked(watch: DelayWatch, store: SqlStore, **later: float) -> list[tuple[str, str, bool]]:
    """Look, and keep what is found as a desk does."""
    now = NOW + timedelta(**later)
    found = await watch.look(now)

    def keep(tx: Transaction) -> None:
        tx.write(Changes(alerts=[(alert, at) for alert, at in found if not alert.over]))
        tx.alerts.settle(Sorted(kept=[row.id for row in tx.alerts.unsorted(999)]), now)

    await store.transact(keep)
    return [(alert.kind, alert.subject, alert.over) for alert, _ in found if alert.kind != AlertKind.BACKLOG]


def watching(store: SqlStore, backlog: int = 99) -> DelayWatch:
    return DelayWatch(store, backlog=backlog, stuck=timedelta(hours=1))


async def test_a_deadline_is_seen_once_when_it_has_passed(store: SqlStore) -> None:
    run = await add(store, 2, deadline_at=NOW + timedelta(minutes=1))
    watch = watching(store)

    assert await looked(watch, store, seconds=50) == []
    late = [(AlertKind.DEADLINE_MISSED, f"{run}/t{n}", False) for n in range(2)]
    assert await looked(watch, store, seconds=60) == late
    assert await looked(watch, store, seconds=65) == []


async def test_a_run_is_stuck_until_it_moves(store: SqlStore) -> None:
    run = await add(store, 1)
    watch = watching(store)

    assert await looked(watch, store, minutes=59) == []
    assert await looked(watch, store, minutes=61) == [(AlertKind.RUN_STUCK, run, False)]
    assert await looked(watch, store, minutes=63) == []

    def move(tx: Transaction) -> None:
        (row,) = tx.tasks.of_run(run)
        row.ordered_at = NOW + timedelta(minutes=64)
        tx.write(Changes(tasks=[TaskChange(row, row.state, row.attempt)]))

    await store.transact(move)
    assert await looked(watch, store, minutes=65) == [(AlertKind.RUN_STUCK, run, True)]


async def test_more_stuck_runs_than_fit_a_page_are_told_once_and_over(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warrener_services.gossip.delays._PAGE", 2)
    runs = [await add(store, 1) for _ in range(5)]
    watch = watching(store)

    told = [found for n in range(8) for found in await looked(watch, store, minutes=61 + n)]
    assert sorted(told) == sorted((AlertKind.RUN_STUCK, run, False) for run in runs)

    def move(tx: Transaction) -> None:
        (row,) = tx.tasks.of_run(runs[-1])
        row.ordered_at = NOW + timedelta(minutes=70)
        tx.write(Changes(tasks=[TaskChange(row, row.state, row.attempt)]))

    await store.transact(move)
    told = [found for n in range(3) for found in await looked(watch, store, minutes=71 + n)]
    assert (AlertKind.RUN_STUCK, runs[-1], True) in told


async def test_a_backlog_is_told_now_and_then_and_over_at_half_of_it(store: SqlStore) -> None:
    run = await add(store, 10)
    watch = watching(store, backlog=9)

    async def told(**later: float) -> list[bool]:
        return [alert.over for alert, _ in await watch.look(NOW + timedelta(**later)) if alert.kind == "backlog"]

    assert await told(seconds=0) == [False]
    assert await told(seconds=5) == []
    assert await told(minutes=11) == [False]

    def start(tx: Transaction) -> None:
        rows = tx.tasks.of_run(run)
        for row in rows[:6]:
            was, row.state = row.state, State.RUNNING
            tx.write(Changes(tasks=[TaskChange(row, was, row.attempt)]))

    await store.transact(start)
    assert await told(minutes=12) == [True]
    assert await told(minutes=13) == []
