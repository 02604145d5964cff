"""What every store promises of alerts, letters and delays; see warrener/letters.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from desk import memory_engine
from warrener.alerts import Alert, AlertKind, Severity
from warrener.errors import Fenced
from warrener.ids import new_run_id
from warrener.letters import AlertFilter, Letter, Sorted
from warrener.states import State
from warrener.store import Changes, RunRow, TaskRow, Transaction
from warrener.stores import open_store
from warrener.stores.sql import Inline, SqlStore
from warrener.stores.tables import NEVER

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)
FAILED = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 does not answer", site="lab")
BACK = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 is back", over=True)
LATER = NOW + timedelta(minutes=5)
_rng = Random(1)


@pytest.fixture(params=["sqlite", "memory", POSTGRESQL])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    if request.param == "memory":
        engine = memory_engine()
        store = SqlStore(Inline(engine))
    else:
        postgresql = request.param == "postgresql"
        store = open_store(request.getfixturevalue("postgresql_url") if postgresql else f"sqlite:///{tmp_path / 's'}")
    await store.migrate(shards=4)
    yield store
    await store.close()


async def raised(store: SqlStore, *alerts: Alert, at: datetime = NOW) -> list[int]:
    await store.apply(lambda tx: (None, Changes(alerts=[(alert, at) for alert in alerts])))
    return [row.id for row in await store.read(lambda tx: tx.alerts.unsorted(100))]


def letter(**more: Any) -> Letter:
    fields: dict[str, Any] = {
        "token": f"t{_rng.getrandbits(60)}", "destination": "mail:a@b", "fold": "critical", "content": "{}",
        "opened_at": NOW, "due_at": NOW, "try_at": NOW, "span_s": 4.0,
    }  # fmt: skip
    return Letter(**{**fields, **more})


async def test_an_alert_is_kept_as_it_was_raised_with_what_else_a_tick_changes(store: SqlStore) -> None:
    await raised(store, FAILED, BACK)

    first, second = await store.read(lambda tx: tx.alerts.unsorted(100))
    assert (first.alert, first.at, first.episode) == (FAILED, NOW, FAILED.episode)
    assert second.alert == BACK
    assert await store.read(lambda tx: tx.alerts.unsorted(1)) == [first]


async def test_a_message_is_received_once(store: SqlStore) -> None:
    for _ in range(2):
        await store.transact(lambda tx: tx.alerts.receive(FAILED, NOW, "m1"))
    await store.transact(lambda tx: tx.alerts.receive(FAILED, NOW, "m2"))

    assert len(await store.read(lambda tx: tx.alerts.unsorted(100))) == 2


async def test_sorted_alerts_are_episodes_that_repeat_and_end(store: SqlStore) -> None:
    first, second, third = await raised(store, FAILED, FAILED, BACK)
    done = Sorted([first], [second, third], {first: 2}, [(first, LATER, "host-1 is back")])
    await store.transact(lambda tx: tx.alerts.settle(done, NOW))

    (row,) = await store.read(lambda tx: tx.alerts.list(AlertFilter()))
    assert (row.repeats, row.over_at, row.over_text, row.sorted_at) == (2, LATER, "host-1 is back", NOW)
    assert await store.read(lambda tx: tx.alerts.latest([FAILED.episode, "other"])) == {FAILED.episode: row}
    assert await store.read(lambda tx: tx.alerts.running(AlertKind.MEMBER_FAILED, 9)) == []


async def test_running_episodes_are_read_page_by_page(store: SqlStore) -> None:
    ids = await raised(store, *(replace(FAILED, subject=f"host-{n}") for n in range(3)))

    async def page(after: int = 0) -> list[int]:
        return [row.id for row in await store.read(lambda tx: tx.alerts.running(FAILED.kind, 2, after))]

    assert (await page(), await page(ids[1]), await page(ids[2])) == (ids[:2], ids[2:], [])


async def test_what_one_desk_has_sorted_another_cannot(store: SqlStore) -> None:
    ids = await raised(store, FAILED, replace(FAILED, subject="host-2"))
    await store.transact(lambda tx: tx.alerts.settle(Sorted(kept=ids[:1]), NOW))

    with pytest.raises(Fenced):
        await store.transact(lambda tx: tx.alerts.settle(Sorted(kept=ids), NOW))
    assert len(await store.read(lambda tx: tx.alerts.unsorted(9))) == 1


async def test_alerts_are_listed_by_what_is_asked_for(store: SqlStore) -> None:
    task = Alert(AlertKind.TASK_FAILED, "r/t", "t failed", owner="ada")
    first, second = await raised(store, FAILED, task)

    async def listed(**which: Any) -> list[int]:
        return [row.id for row in await store.read(lambda tx: tx.alerts.list(AlertFilter(**which)))]

    assert await listed() == [second, first]
    assert await listed(limit=1) == [second]
    assert await listed(before=second) == [first]
    assert await listed(kinds=[AlertKind.TASK_FAILED]) == [second]
    assert await listed(severities=[Severity.CRITICAL]) == [first]
    assert await listed(site="lab") == [first]
    assert await listed(owner="ada", subject="r/t") == [second]
    await store.transact(lambda tx: tx.alerts.ack(first, "ada", "on it", NOW))
    assert await listed(open=True) == [second]
    (row,) = await store.read(lambda tx: tx.alerts.load([first]))
    assert (row.acked_at, row.acked_by, row.note) == (NOW, "ada", "on it")


async def test_a_letter_is_taken_by_one_desk_only(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.letters.add([letter(), letter(try_at=LATER)]))
    (seen,) = await store.read(lambda tx: tx.letters.waiting(NOW, 9))

    takes = [store.transact(lambda tx, by=by: tx.letters.take(seen, by)) for by in ("a", "b")]
    taken = [one for one in await asyncio.gather(*takes) if one is not None]

    assert [(one.tries, one.sealed) for one in taken] == [(1, True)]
    (waiting,) = await store.read(lambda tx: tx.letters.waiting(NOW, 9))
    assert waiting == taken[0]
    # Who sees that its holder does not move may take it over, once.
    over = await store.transact(lambda tx: tx.letters.take(waiting, "c"))
    assert over is not None
    assert over.tries == 2
    await store.transact(lambda tx: tx.letters.end(taken[0], NOW, "sent"))  # it came too late
    assert await store.read(lambda tx: tx.letters.waiting(NOW, 9)) == [over]
    await store.transact(lambda tx: tx.letters.end(over, NOW, "sent"))
    assert await store.read(lambda tx: tx.letters.waiting(NOW, 9)) == []


async def test_a_sealed_letter_is_not_rewritten(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.letters.add([letter()]))
    (seen,) = await store.read(lambda tx: tx.letters.waiting(NOW, 9))
    await store.transact(lambda tx: tx.letters.rewrite(replace(seen, content="new")))
    taken = await store.transact(lambda tx: tx.letters.take(seen, "a"))

    assert taken is not None
    assert taken.content == "new"
    with pytest.raises(Fenced):
        await store.transact(lambda tx: tx.letters.rewrite(replace(seen, content="newer")))
    await store.transact(lambda tx: tx.letters.put_back(taken, LATER, "away", sealed=False))
    await store.transact(lambda tx: tx.letters.rewrite(replace(seen, content="newer")))


async def test_the_latest_letter_of_each_fold_is_found(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.letters.add([letter(), letter(content="2"), letter(fold="test:x")]))

    def look(tx: Transaction) -> Any:
        tx.letters.hold()
        return tx.letters.latest([("mail:a@b", "critical"), ("mail:other", "critical")]), tx.letters.of_fold("test:x")

    latest, of_fold = await store.transact(look)
    assert {key: one.content for key, one in latest.items()} == {("mail:a@b", "critical"): "2"}
    assert len(of_fold) == 1


# ── delays ───────────────────────────────────────────────────────────────────────────────────────────────────


async def add_run(store: SqlStore, key: str, *tasks: dict[str, Any], **more: Any) -> str:
    run = new_run_id(NOW, 1, _rng)
    fields: dict[str, Any] = {
        "id": run, "shard": 1, "owner": "me", "key": key, "workflow": "w", "digest": "d", "params": "{}",
        "priority": None, "logical_time": None, "state": "running", "accepted_at": NOW, "tasks": len(tasks),
    }  # fmt: skip
    rows = [
        TaskRow(
            **{
                "run": run, "n": n, "shard": 1, "name": f"t{n}", "kind": "job", "lane": "job", "workflow": "w",
                "section": "{}", "templated": False, "policy": "{}", "priority": 4, "weight": 1, "deadline_at": NEVER,
                "fanout": 0, "state": State.READY, "unmet": 0, "level": 5, "ready_at": NOW, **task,
            }
        )
        for n, task in enumerate(tasks)
    ]  # fmt: skip
    await store.transact(lambda tx: tx.write(Changes(new_runs=[RunRow(**{**fields, **more})], new_tasks=rows)))
    return run


async def test_tasks_are_late_between_two_moments_until_they_are_finished(store: SqlStore) -> None:
    run = await add_run(
        store,
        "k",
        {"deadline_at": NOW},
        {"deadline_at": LATER},
        {},
        {"deadline_at": NOW, "finished_at": NOW},
        site="lab",
    )
    before = (NOW - timedelta(days=1), "", 0)

    late = await store.read(lambda tx: tx.delays.late(before, NOW, 9))

    assert [(one.run, one.n, one.name, one.owner, one.site) for one in late] == [(run, 0, "t0", "me", "lab")]
    assert len(await store.read(lambda tx: tx.delays.late(before, LATER, 9))) == 2
    assert await store.read(lambda tx: tx.delays.late((NOW, run, 0), NOW, 9)) == []


async def test_an_open_run_tells_when_it_last_moved(store: SqlStore) -> None:
    first = await add_run(store, "a", {"started_at": LATER}, {})
    second = await add_run(store, "b", {"ready_at": None}, accepted_at=NOW + timedelta(seconds=1))
    await add_run(store, "c", finished_at=NOW)
    begin = (NOW - timedelta(days=1), "")

    runs = await store.read(lambda tx: tx.delays.open_runs(begin, LATER, 9))

    assert [(one.run, one.moved_at) for one in runs] == [(first, LATER), (second, NOW + timedelta(seconds=1))]
    rest = await store.read(lambda tx: tx.delays.open_runs((NOW, first), LATER, 9))
    assert [one.run for one in rest] == [second]
    assert set(await store.read(lambda tx: tx.delays.runs([first, "other"]))) == {first}


async def test_ready_tasks_are_counted_up_to_a_number(store: SqlStore) -> None:
    await add_run(store, "a", {}, {}, {"state": State.WAITING})

    assert await store.read(lambda tx: tx.delays.count_ready(9)) == 2
    assert await store.read(lambda tx: tx.delays.count_ready(1)) == 1


async def test_old_alerts_are_forgotten_and_old_letters_once_they_are_done_with(store: SqlStore) -> None:
    first, _ = await raised(store, FAILED, replace(FAILED, subject="host-2"))  # no desk is there for the second one
    await store.transact(lambda tx: tx.alerts.settle(Sorted(kept=[first]), NOW))
    await store.transact(lambda tx: tx.letters.add([letter(ended_at=NOW, outcome="sent"), letter()]))

    assert await store.transact(lambda tx: tx.past.forget(NOW, 100)) == 0
    assert await store.transact(lambda tx: tx.past.forget(LATER, 100)) == 3
    assert await store.read(lambda tx: tx.alerts.list(AlertFilter())) == []
    assert len(await store.read(lambda tx: tx.letters.waiting(LATER, 9))) == 1
