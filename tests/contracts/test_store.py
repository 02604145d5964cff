"""What every store promises, on every store; see warrener/store.py."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, event

from desk import memory_engine
from fleet.postgresql import PostgreSQLServer
from fleet.proxy import Proxy
from warrener.broker import Message
from warrener.errors import Fenced, InvalidSettings, StoreRefused, StoreUnavailable
from warrener.ids import BootId, RunId, TaskRef, WorkerName, new_run_id
from warrener.ordering import Turn, aged_level, level_of
from warrener.penalties import Penalty
from warrener.states import State
from warrener.store import (
    AttemptRow,
    Changes,
    ConfiguredRow,
    Death,
    Definition,
    Drain,
    LogPiece,
    ParkedMessage,
    PastRow,
    RunFilter,
    RunRow,
    RunTime,
    SchedulerRow,
    Stray,
    TaskChange,
    TaskRow,
    Transaction,
)  # fmt: skip
from warrener.stores import open_store, sql
from warrener.stores.sql import Inline, SqlStore
from warrener.stores.tables import NEVER, deployment, metadata, shards

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SHARDS = 4
Open = Callable[[], SqlStore]
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)


@pytest.fixture(params=["sqlite", "memory", POSTGRESQL])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_url"))
    return "" if request.param == "memory" else f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    """Open one and the same database as often as wanted."""
    engine = None if url else memory_engine()
    made: list[SqlStore] = []

    def opened() -> SqlStore:
        made.append(open_store(url) if engine is None else SqlStore(Inline(engine)))
        return made[-1]

    yield opened
    for store in made:
        await store.close()
    if engine is not None:
        engine.dispose()


@pytest.fixture
async def store(opened: Open) -> SqlStore:
    store = opened()
    await store.migrate(shards=SHARDS)
    return store


_rng = Random(1)


def run_row(key: str = "k", shard: int = 1, **more: Any) -> RunRow:
    fields: dict[str, Any] = {
        "id": new_run_id(NOW, shard, _rng), "shard": shard, "owner": "me", "key": key, "workflow": "w",
        "digest": "d", "params": "{}", "priority": None, "logical_time": None, "state": "accepted",
        "accepted_at": NOW,
    }  # fmt: skip
    return RunRow(**{**fields, **more})


def task_row(run: RunId, n: int = 0, **more: Any) -> TaskRow:
    fields: dict[str, Any] = {
        "run": run, "n": n, "shard": 1, "name": f"t{n}", "kind": "job", "lane": "job", "workflow": "w",
        "section": "{}", "templated": False, "policy": "{}", "priority": 4, "weight": 1, "deadline_at": NEVER,
        "fanout": 0, "state": State.READY, "unmet": 0, "level": 5, "ready_at": NOW,
    }  # fmt: skip
    return TaskRow(**{**fields, **more})


RUN = new_run_id(NOW, 1, _rng)


async def add(store: SqlStore, *rows: TaskRow, needs: Any = ()) -> None:
    await store.transact(lambda tx: tx.write(Changes(new_tasks=rows, needs=needs)))


# ── transactions ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_raises_keeps_nothing(store: SqlStore) -> None:
    row = run_row()

    def work(tx: Transaction) -> None:
        tx.write(Changes(new_runs=[row]))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.transact(work)
    assert await store.read(lambda tx: tx.runs.load([row.id])) == {}
    assert await store.transact(lambda tx: 5) == 5


async def test_a_run_comes_back_as_it_was(store: SqlStore) -> None:
    row = run_row(priority=3, logical_time=NOW, site="north", tasks=3, unfinished=2, failed=1, finished_at=NOW)
    await store.transact(lambda tx: tx.write(Changes(new_runs=[row])))
    assert await store.read(lambda tx: tx.runs.load([row.id])) == {row.id: row}
    row.state, row.tasks, row.unfinished, row.failed, row.cancelled, row.site = "failed", 9, 0, 5, 4, None
    await store.transact(lambda tx: tx.write(Changes(runs=[row])))
    assert await store.read(lambda tx: tx.runs.load([row.id, row.id])) == {row.id: row}


async def test_a_second_run_of_a_key_is_refused(store: SqlStore) -> None:
    first, second = run_row("k"), run_row("k")
    await store.transact(lambda tx: tx.write(Changes(new_runs=[first])))
    with pytest.raises(StoreRefused):
        await store.transact(lambda tx: tx.write(Changes(new_runs=[run_row("other"), second])))
    names = [("me", "k"), ("me", "other"), ("me", "none"), ("you", "k")]
    assert await store.read(lambda tx: tx.runs.known(names)) == {("me", "k"): first}
    await store.transact(lambda tx: tx.write(Changes(new_runs=[run_row("k", owner="you")])))


async def test_any_number_of_keys_is_asked_for_at_once(store: SqlStore) -> None:
    row = run_row("k7")
    await store.transact(lambda tx: tx.write(Changes(new_runs=[row])))
    names = [("me", f"k{number}") for number in range(40_000)]
    assert await store.read(lambda tx: tx.runs.known(names)) == {("me", "k7"): row}
    ids = [new_run_id(NOW, 1, _rng) for _ in range(40_000)]
    assert await store.read(lambda tx: tx.runs.load([*ids, row.id])) == {row.id: row}


async def test_a_definition_is_kept_once(store: SqlStore) -> None:
    one = Definition("d", "w", "1", '{"a":1}', NOW)
    for _ in range(2):
        await store.transact(lambda tx: tx.write(Changes(definitions=[one, one])))
    assert await store.read(lambda tx: tx.runs.definition("d")) == '{"a":1}'
    assert await store.read(lambda tx: tx.runs.definition("e")) is None


async def test_accepted_runs_come_oldest_first_with_their_definition(store: SqlStore) -> None:
    rows = [
        run_row(str(number), shard=number % 3, id=new_run_id(NOW + timedelta(seconds=number), number % 3, _rng))
        for number in range(6)
    ]
    rows.append(run_row("running", state="running"))

    def work(tx: Transaction) -> None:
        tx.write(Changes(definitions=[Definition("d", "w", "1", "text", NOW)]))
        tx.write(Changes(new_runs=rows[::-1]))

    await store.transact(work)
    found = await store.read(lambda tx: tx.runs.accepted([0, 2], 3))
    assert found == [(rows[0], "text"), (rows[2], "text"), (rows[3], "text")]
    assert await store.read(lambda tx: tx.runs.count_accepted(100)) == 6
    assert await store.read(lambda tx: tx.runs.count_accepted(4)) == 4


async def test_sites_are_of_unfinished_runs(store: SqlStore) -> None:
    here, done, none = run_row("a", site="north"), run_row("b", site="north", finished_at=NOW), run_row("c")
    far = run_row("d", site="south", shard=2)
    await store.transact(lambda tx: tx.write(Changes(new_runs=[here, done, none, far])))
    assert await store.read(lambda tx: tx.runs.sites([1])) == {here.id: "north"}


async def test_runs_are_listed_newest_first_and_found_by_their_beginning(store: SqlStore) -> None:
    rows = [
        run_row(str(n), id=new_run_id(NOW + timedelta(hours=n), 1, _rng), state="failed" if n % 2 else "running")
        for n in range(4)
    ]
    await store.transact(lambda tx: tx.write(Changes(new_runs=rows)))
    assert await store.read(lambda tx: tx.runs.list(RunFilter())) == rows[::-1]
    assert await store.read(lambda tx: tx.runs.list(RunFilter(states=["failed"], before=rows[3].id))) == [rows[1]]
    assert await store.read(lambda tx: tx.runs.list(RunFilter(owner="you"))) == []
    assert await store.read(lambda tx: tx.runs.list(RunFilter(workflow="w", limit=1))) == [rows[3]]
    assert await store.read(lambda tx: tx.runs.find(rows[2].id[:12])) == [rows[2]]
    assert await store.read(lambda tx: tx.runs.find("zz")) == []


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_guard_that_does_not_hold_keeps_nothing(store: SqlStore) -> None:
    first, second = task_row(RUN, 0), task_row(RUN, 1)
    await add(store, first, second)
    first.state = second.state = State.ORDERED
    changes = [TaskChange(first, State.READY, 0), TaskChange(second, State.READY, 7)]
    with pytest.raises(Fenced, match="changed by somebody else"):
        await store.transact(lambda tx: tx.write(Changes(tasks=changes)))
    assert {row.state for row in await store.read(lambda tx: tx.tasks.of_run(RUN))} == {State.READY}


async def test_a_task_comes_back_as_it_was(store: SqlStore) -> None:
    row = task_row(RUN)
    await add(store, row)
    row.state, row.attempt, row.tries, row.worker, row.boot = State.FAILED, 3, 2, "w", "b"
    row.ready_at = row.due_at = row.ordered_at = row.started_at = row.finished_at = NOW
    row.cause, row.message, row.exit_code, row.output = "exit", 'it\'s ☃ "so"', -9, '{"a":"\\u0000"}'
    await store.transact(lambda tx: tx.write(Changes(tasks=[TaskChange(row, State.READY, 0)])))
    found = (await store.read(lambda tx: tx.tasks.load([row.ref])))[row.ref]
    assert {name: getattr(found, name) for name in TaskRow.__slots__} == {
        name: getattr(row, name) for name in TaskRow.__slots__
    }
    row.section = '{"x":1}'
    await store.transact(lambda tx: tx.write(Changes(tasks=[TaskChange(row, State.FAILED, 3, rendered=True)])))
    found = (await store.read(lambda tx: tx.tasks.load([row.ref])))[row.ref]
    assert (found.section, found.templated) == ('{"x":1}', False)


async def test_ready_tasks_come_in_their_turn(store: SqlStore) -> None:
    rng = Random(2)
    rows = [
        task_row(
            new_run_id(NOW + timedelta(milliseconds=rng.randrange(3)), 1, rng), rng.randrange(5),
            level=rng.randrange(3), ready_at=NOW + timedelta(seconds=rng.randrange(3)),
            deadline_at=rng.choice([NEVER, NOW, NOW + timedelta(seconds=5)]), minus_path_s=-rng.randrange(3),
        )
        for _ in range(200)
    ]  # fmt: skip
    apart = [task_row(RUN, 7, shard=2), task_row(RUN, 8, lane="env"), task_row(RUN, 9, state=State.ORDERED)]
    await add(store, *rows, *apart)
    found = await store.read(lambda tx: tx.tasks.ready([0, 1], "job", 150))
    turns = sorted(
        Turn(row.level, row.deadline_at, row.minus_path_s, row.ready_at or NOW, row.run, row.n) for row in rows
    )
    assert [
        Turn(row.level, row.deadline_at, row.minus_path_s, row.ready_at or NOW, row.run, row.n) for row in found
    ] == turns[:150]
    assert sorted(await store.read(lambda tx: tx.tasks.ready_lanes([1, 2]))) == ["env", "job"]
    assert await store.read(lambda tx: tx.tasks.ready_lanes([0])) == []


@pytest.mark.parametrize("number", [1, 64, 1024])
async def test_the_line_is_one_for_any_number_of_shards(store: SqlStore, number: int) -> None:
    rows = [task_row(RUN, n, shard=n * 37 % number, ready_at=NOW - timedelta(seconds=n)) for n in range(50)]
    await add(store, *rows)
    found = await store.read(lambda tx: tx.tasks.ready(range(number), "job", 20))
    assert [row.n for row in found] == list(range(49, 29, -1))
    assert await store.read(lambda tx: tx.tasks.ready_lanes(range(number))) == ["job"]
    assert await store.transact(lambda tx: tx.tasks.lift(range(number), NOW + timedelta(minutes=11), 9)) == {"job"}


async def test_age_lifts_ready_tasks_in_the_store(store: SqlStore) -> None:
    priorities = [priority for priority in range(10) for _ in range(3)]
    rows = [
        task_row(RUN, n, priority=priority, level=level_of(priority), ready_at=NOW - n * timedelta(minutes=7))
        for n, priority in enumerate(priorities)
    ]
    others = [
        task_row(RUN, 100, shard=2, ready_at=NOW - timedelta(days=1)),
        task_row(RUN, 101, state=State.WAITING, ready_at=NOW - timedelta(days=1)),
    ]
    await add(store, *rows, *others)
    while lanes := await store.transact(lambda tx: tx.tasks.lift([0, 1], NOW, 7)):
        assert lanes == {"job"}
    found = {row.n: row.level for row in await store.read(lambda tx: tx.tasks.of_run(RUN))}
    assert found.pop(100) == found.pop(101) == 5
    assert found == {row.n: aged_level(row.priority, row.n * timedelta(minutes=7)) for row in rows}


async def test_age_lifts_the_longest_overdue_first(store: SqlStore) -> None:
    await add(store, *(task_row(RUN, n, ready_at=NOW - timedelta(minutes=10 + n)) for n in range(5)))
    await store.transact(lambda tx: tx.tasks.lift([1], NOW, 2))
    assert [row.level for row in await store.read(lambda tx: tx.tasks.of_run(RUN))] == [5, 5, 5, 4, 4]
    assert await store.transact(lambda tx: tx.tasks.lift([], NOW, 2)) == set()


async def test_due_tasks_come_earliest_first(store: SqlStore) -> None:
    rows = [task_row(RUN, n, due_at=NOW - timedelta(seconds=n)) for n in range(5)]
    rows += [
        task_row(RUN, 5, due_at=NOW + timedelta(microseconds=1)),
        task_row(RUN, 6),
        task_row(RUN, 7, shard=2, due_at=NOW),
    ]
    await add(store, *rows)
    assert [row.n for row in await store.read(lambda tx: tx.tasks.due([1], NOW, 4))] == [4, 3, 2, 1]
    assert [row.n for row in await store.read(lambda tx: tx.tasks.due([1], NOW, 40))] == [4, 3, 2, 1, 0]


async def test_what_is_in_flight(store: SqlStore) -> None:
    await add(store, *(task_row(RUN, n, state=state) for n, state in enumerate(State)))
    found = await store.read(lambda tx: tx.tasks.in_flight([1, 2]))
    assert {row.state for row in found} == {State.ORDERED, State.RUNNING, State.UNREACHABLE, State.CANCELLING}
    assert await store.read(lambda tx: tx.tasks.in_flight([0])) == []


async def test_successors_and_outputs(store: SqlStore) -> None:
    rows = [task_row(RUN, n, output=f"{n}") for n in range(4)]
    await add(store, *rows, needs=[(RUN, 0, 2), (RUN, 1, 2), (RUN, 0, 3)])
    found = await store.read(lambda tx: tx.tasks.successors([rows[0].ref, rows[1].ref]))
    assert sorted((upstream, row.n) for upstream, row in found) == [(0, 2), (0, 3), (1, 2)]
    assert await store.read(lambda tx: tx.tasks.outputs(rows[2].ref)) == {"t0": "0", "t1": "1"}
    assert sorted(await store.read(lambda tx: tx.tasks.needs_of_run(RUN))) == [(0, 2), (0, 3), (1, 2)]
    assert await store.read(lambda tx: tx.tasks.successors([])) == []


async def test_attempts_that_ended(store: SqlStore) -> None:
    rows = [AttemptRow(RUN, 0, n, "retry", "w", NOW, None, NOW, "exit", "no", 1) for n in (2, 1)]
    await store.transact(lambda tx: tx.write(Changes(attempts=rows)))
    assert await store.read(lambda tx: tx.tasks.attempts(TaskRef(RUN, 0))) == rows[::-1]


# ── mail and notes ───────────────────────────────────────────────────────────────────────────────────────────


async def test_the_inbox_remembers_for_a_while(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.write(Changes(handled=[("a", NOW), ("b", NOW)])))
    await store.transact(lambda tx: tx.write(Changes(handled=[("c", NOW + timedelta(days=1))])))
    assert await store.read(lambda tx: tx.mail.handled(["a", "c", "d"])) == {"a", "c"}
    with pytest.raises(StoreRefused):
        await store.transact(lambda tx: tx.write(Changes(handled=[("d", NOW), ("a", NOW)])))
    assert await store.transact(lambda tx: tx.mail.forget(NOW + timedelta(hours=1), 1)) == 1
    assert await store.transact(lambda tx: tx.mail.forget(NOW + timedelta(hours=1), 100)) == 1
    assert await store.read(lambda tx: tx.mail.handled(["a", "b", "c", "d"])) == {"c"}


async def test_the_outbox_keeps_messages_until_they_are_sent(store: SqlStore) -> None:
    message = Message(
        "x", "key", "orders/1", b"\x00\xff", "m1", priority=7, mandatory=False, correlation_id="c", headers={"a": "b"}
    )
    other = Message("x", "key", "orders/1", b"", "m2")
    await store.transact(lambda tx: tx.write(Changes(posted=[(1, message), (2, other)])))
    assert await store.read(lambda tx: tx.mail.unsent([0, 1], 10)) == [message]
    await store.transact(lambda tx: tx.write(Changes(sent=["m1", "none"])))
    assert await store.read(lambda tx: tx.mail.unsent([1, 2], 10)) == [other]


async def test_log_pieces_stay_as_they_were(store: SqlStore) -> None:
    def piece(start: int, text: str, stream: str = "stdout") -> LogPiece:
        return LogPiece(RUN, 0, 1, stream, start, text)

    await store.transact(lambda tx: tx.write(Changes(logs=[piece(5, "b"), piece(0, "a"), piece(0, "err", "stderr")])))
    await store.transact(lambda tx: tx.write(Changes(logs=[piece(0, "changed"), piece(9, "c")])))
    found = await store.read(lambda tx: tx.notes.logs(TaskRef(RUN, 0), 1, "stdout", 0, 10))
    assert found == [piece(0, "a"), piece(5, "b"), piece(9, "c")]
    assert await store.read(lambda tx: tx.notes.logs(TaskRef(RUN, 0), 1, "stdout", 5, 1)) == [piece(5, "b")]


async def test_intents_are_done_in_order(store: SqlStore) -> None:
    far = new_run_id(NOW, 2, _rng)
    for run, what in ((RUN, "cancel"), (far, "cancel"), (RUN, "retry")):
        await store.transact(lambda tx, run=run, what=what: tx.write(Changes(wanted=[(run, what, NOW)])))
    found = await store.read(lambda tx: tx.notes.intents([1], 10))
    assert [(one.run, one.what) for one in found] == [(RUN, "cancel"), (RUN, "retry")]
    await store.transact(lambda tx: tx.write(Changes(done=[found[0].id])))
    assert await store.read(lambda tx: tx.notes.intents([1], 10)) == found[1:]


async def test_evidence_and_parked_messages(store: SqlStore) -> None:
    stray = Stray(RUN, 0, 1, "w", "late", "{}", NOW)
    parked = ParkedMessage(0, "m1", "bad", "x", "y", "k", b"\x00", {"a": "b"}, NOW)
    for _ in range(2):
        await store.transact(lambda tx: tx.write(Changes(parked=[parked])))
    await store.transact(lambda tx: tx.write(Changes(strays=[stray])))
    assert await store.read(lambda tx: tx.notes.strays(TaskRef(RUN, 0))) == [stray]
    (found,) = await store.read(lambda tx: tx.notes.parked(10))
    assert ParkedMessage(0, *(getattr(found, name) for name in list(ParkedMessage.__slots__)[1:])) == parked
    assert await store.read(lambda tx: tx.notes.parked_one(found.id)) == found
    await store.transact(lambda tx: tx.notes.unpark(found.id))
    assert await store.read(lambda tx: tx.notes.parked_one(found.id)) is None


# ── shards ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_who_takes_a_shard_fences_the_one_before(store: SqlStore) -> None:
    free = await store.read(lambda tx: tx.shards.all())
    assert [(row.shard, row.owner, row.epoch) for row in free] == [(n, None, 0) for n in range(SHARDS)]
    first = await store.transact(lambda tx: tx.shards.take(free, "one"))
    assert first == dict.fromkeys(range(SHARDS), 1)
    assert await store.transact(lambda tx: tx.shards.take(free, "late")) == {}
    await store.transact(lambda tx: tx.shards.keep(first))
    seen = await store.read(lambda tx: tx.shards.all())
    second = await store.transact(lambda tx: tx.shards.take(seen[:1], "two"))
    assert second == {0: 2}
    for refused in (lambda tx: tx.shards.fence(first), lambda tx: tx.shards.keep(first)):
        with pytest.raises(Fenced, match="shards 0 belong"):
            await store.transact(refused)
    await store.transact(lambda tx: tx.shards.fence({1: 1, 2: 1}))
    await store.transact(lambda tx: tx.shards.release(first))
    owners = [row.owner for row in await store.read(lambda tx: tx.shards.all())]
    assert owners == ["two", None, None, None]


async def test_a_beat_keeps_a_shard_from_those_who_saw_it_still(store: SqlStore) -> None:
    epochs = await store.transact(lambda tx: tx.shards.take(tx.shards.all(), "one"))
    seen = await store.read(lambda tx: tx.shards.all())
    await store.transact(lambda tx: tx.shards.keep(epochs))
    assert await store.transact(lambda tx: tx.shards.take(seen, "two")) == {}


@pytest.mark.parametrize("url", [POSTGRESQL], indirect=True)
async def test_who_takes_a_shard_waits_for_the_fenced_commit(opened: Open, store: SqlStore, url: str) -> None:
    epochs = await store.transact(lambda tx: tx.shards.take(tx.shards.all(), "one"))
    other, third = opened(), opened()
    order: list[str] = []
    async with asyncio.TaskGroup() as tasks:

        def work(tx: Transaction) -> None:
            tx.shards.fence(epochs)
            tasks.create_task(take())
            tx.shards._connection.exec_driver_sql("SELECT pg_sleep(0.3)")
            order.append("written")

        async def take() -> None:
            await third.transact(lambda tx: tx.shards.keep(epochs))  # the owner's own beat passes
            order.append("kept")
            await other.transact(lambda tx: tx.shards.take(tx.shards.all(), "two"))
            order.append("taken")

        await store.transact(work)
    assert order == ["kept", "written", "taken"]


async def test_schedulers_that_take_part_beat(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.schedulers.beat("two", "l1"))
    await store.transact(lambda tx: tx.schedulers.beat("one", "l1"))
    assert await store.read(lambda tx: tx.schedulers.all()) == [
        SchedulerRow("one", "l1", 1),
        SchedulerRow("two", "l1", 1),
    ]
    await store.transact(lambda tx: tx.schedulers.beat("two", "l1"))
    await store.transact(lambda tx: tx.schedulers.beat("one", "l2"))  # it was started anew
    assert await store.read(lambda tx: tx.schedulers.all()) == [
        SchedulerRow("one", "l2", 2),
        SchedulerRow("two", "l1", 2),
    ]


async def test_a_scheduler_is_forgotten_only_while_its_beat_stands_still(store: SqlStore) -> None:
    for name in ("one", "two", "three"):
        await store.transact(lambda tx, name=name: tx.schedulers.beat(name, "l1"))
    seen = await store.read(lambda tx: tx.schedulers.all())
    await store.transact(lambda tx: tx.schedulers.beat("two", "l1"))
    await store.transact(lambda tx: tx.schedulers.drop(seen[1:]))
    assert [row.name for row in await store.read(lambda tx: tx.schedulers.all())] == ["one", "two"]
    await store.transact(lambda tx: tx.schedulers.beat("three", "l1"))  # it was only paused, and comes back
    assert [row.name for row in await store.read(lambda tx: tx.schedulers.all())] == ["one", "three", "two"]


@pytest.mark.parametrize("url", [POSTGRESQL], indirect=True)
async def test_a_program_frozen_in_a_transaction_holds_nobody_up_for_long(
    opened: Open, store: SqlStore, url: str
) -> None:
    epochs = await store.transact(lambda tx: tx.shards.take(tx.shards.all(), "one"))
    begun, thaw = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        tx.shards.fence(epochs)
        tx.write(Changes(new_runs=[run_row()]))
        begun.set()
        thaw.wait(30)

    async def frozen() -> None:
        own = open_store(url)
        try:
            await own.transact(work)
        finally:
            await own.close()

    freezing = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(frozen())))
    await asyncio.to_thread(begun.wait, 10)
    try:
        async with asyncio.timeout(8):
            assert await store.transact(lambda tx: tx.shards.take(tx.shards.all(), "two")) == dict.fromkeys(epochs, 2)
    finally:
        thaw.set()
    with pytest.raises(StoreUnavailable):
        await freezing
    assert await store.read(lambda tx: tx.runs.list(RunFilter())) == []


# ── run times ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_configured_settings_have_versions_that_only_grow(store: SqlStore) -> None:
    assert await store.read(lambda tx: tx.configuration.all()) == []
    assert await store.transact(lambda tx: tx.configuration.set("log", "debug", NOW)) == 1
    assert await store.transact(lambda tx: tx.configuration.set("other", "x", NOW)) == 2
    assert await store.transact(lambda tx: tx.configuration.set("log", None, NOW + timedelta(seconds=1))) == 3
    assert await store.read(lambda tx: tx.configuration.all()) == [
        ConfiguredRow("log", None, 3, NOW + timedelta(seconds=1)),
        ConfiguredRow("other", "x", 2, NOW),
    ]


@pytest.mark.usefixtures("store")
async def test_settings_that_are_configured_at_once_get_versions_of_their_own(opened: Open) -> None:
    def set_on(store: SqlStore, name: str) -> Awaitable[int]:
        return store.transact(lambda tx: tx.configuration.set(name, "x", NOW))

    versions = await asyncio.gather(*(set_on(opened(), name) for name in ("log", "other") * 3))
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]


async def test_run_times_are_kept_written_over_and_forgotten(store: SqlStore) -> None:
    later = NOW + timedelta(days=2)
    old = [RunTime("w", "b", 2.5, NOW), RunTime("w", "a", 1, NOW), RunTime("v", "a", 9, NOW)]
    await store.transact(lambda tx: tx.run_times.keep(old))
    await store.transact(lambda tx: tx.run_times.keep([RunTime("w", "a", 0.1, later)]))
    await store.transact(lambda tx: tx.run_times.keep([]))
    assert await store.read(lambda tx: tx.run_times.of("w", 10)) == {"a": 0.1, "b": 2.5}
    assert await store.read(lambda tx: tx.run_times.of("w", 1)) == {"a": 0.1}
    assert await store.transact(lambda tx: tx.run_times.forget(later, 1)) == 1
    assert await store.transact(lambda tx: tx.run_times.forget(later, 10)) == 1
    assert await store.read(lambda tx: tx.run_times.of("w", 10)) == {"a": 0.1}
    assert await store.read(lambda tx: tx.run_times.of("v", 10)) == {}


# ── readers, migrations, outages ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("url", ["sqlite", POSTGRESQL], indirect=True)
async def test_readers_do_not_wait_for_writers(store: SqlStore, url: str) -> None:
    row, begun, go_on = run_row(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(tx: Transaction) -> None:
        tx.write(Changes(new_runs=[row]))
        loop.call_soon_threadsafe(begun.set)
        if "sqlite" in url:
            go_on.wait(10)
        else:
            tx.runs._connection.exec_driver_sql("SELECT pg_sleep(0.5)")

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(store.transact(work))
        await begun.wait()
        assert await store.read(lambda tx: tx.runs.load([row.id])) == {}
        assert not writing.done()
        go_on.set()
    assert row.id in await store.read(lambda tx: tx.runs.load([row.id]))


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index tasks_ageing")
async def test_migrations_make_the_tables_that_queries_speak_of(store: SqlStore) -> None:
    def comparable(name: str | None, kind: str, _parents: object) -> bool:
        return (kind, name) != ("index", "tasks_ageing")  # an expression's: the migration alone makes it

    def differences(tx: Transaction) -> Any:
        opts = {"include_name": comparable}
        return compare_metadata(MigrationContext.configure(tx.runs._connection, opts=opts), metadata)

    assert await store.transact(differences) == []


async def test_a_deployment_keeps_its_number_of_shards(opened: Open, store: SqlStore) -> None:
    epochs = await store.transact(lambda tx: tx.shards.take(tx.shards.all(), "one"))
    assert (await opened().migrate(shards=99)).shards == SHARDS
    await store.transact(lambda tx: tx.shards.fence(epochs))


@pytest.mark.parametrize("url", ["sqlite", POSTGRESQL], indirect=True)
async def test_programs_that_start_together_migrate_in_turn(opened: Open, url: str) -> None:
    made = await asyncio.gather(*(opened().migrate(shards=number) for number in (3, 5, 7)))
    assert len(set(made)) == 1
    assert len(await opened().read(lambda tx: tx.shards.all())) == made[0].shards


@pytest.mark.parametrize("url", [POSTGRESQL], indirect=True)
async def test_programs_that_find_the_tables_there_make_one_deployment(opened: Open, url: str) -> None:
    def forget(tx: Transaction) -> None:
        for table in (deployment, shards):
            tx.runs._connection.execute(delete(table))

    stores = [opened() for _ in range(8)]
    await stores[0].migrate(shards=1)
    for _ in range(10):
        await stores[0].transact(forget)
        made = await asyncio.gather(*(store.migrate(shards=n) for n, store in enumerate(stores, 1)))
        assert len(set(made)) == 1


@pytest.mark.parametrize("url", [POSTGRESQL], indirect=True)
@pytest.mark.parametrize(("n", "reason"), [(0, "a\0b"), (10**12, "fine")])
async def test_a_value_that_no_column_takes_is_refused(store: SqlStore, url: str, n: int, reason: str) -> None:
    with pytest.raises(StoreRefused):
        await store.transact(lambda tx: tx.write(Changes(strays=[Stray(RUN, n, 1, "w", reason, "{}", NOW)])))
    await store.read(lambda tx: tx.shards.all())


@pytest.mark.postgresql
async def test_a_database_that_was_killed_is_away_and_comes_back(
    postgresql: PostgreSQLServer, postgresql_url: str
) -> None:
    store = open_store(postgresql_url)
    try:
        await store.migrate(shards=1)
        row = run_row(shard=0)

        def work(tx: Transaction) -> None:
            tx.write(Changes(new_runs=[row]))
            postgresql.kill()
            tx.runs.load([row.id])

        try:
            with pytest.raises(StoreUnavailable):
                await store.transact(work)
            with pytest.raises(StoreUnavailable):
                await store.read(lambda tx: tx.shards.all())
        finally:
            postgresql.start()
        assert await store.read(lambda tx: tx.runs.load([row.id])) == {}
        await store.transact(lambda tx: tx.write(Changes(new_runs=[row])))
    finally:
        await store.close()


@pytest.mark.postgresql
async def test_an_answer_that_was_lost_is_not_waited_for_twice_nor_for_long(
    postgresql: PostgreSQLServer, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sql._APPLY_ANSWER_S < 20
    monkeypatch.setattr(sql, "_APPLY_ANSWER_S", 1.0)

    def look(tx: Transaction) -> tuple[None, Changes]:
        tx.shards.all()
        return None, Changes(strays=[Stray(RUN, 0, 1, "w", "why", "{}", NOW)])

    async with Proxy(postgresql.port) as proxy:
        store = open_store(postgresql_url.replace(f":{postgresql.port}/", f":{proxy.port}/"))
        try:
            await store.migrate(shards=1)
            await store.apply(look)
            assert isinstance(store._database, sql.PostgreSQL)
            kept: list[object] = []
            event.listen(store._database._applying.sync_engine.pool, "reset", lambda *_: kept.append(1))
            proxy.cut()
            async with asyncio.timeout(20):
                with pytest.raises(StoreUnavailable):
                    await store.apply(look)
            assert not kept  # for the next one, who would wait as long
            proxy.heal()
            await store.apply(look)
        finally:
            await store.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "", "postgresql//x"])
def test_a_wrong_url_names_the_setting(url: str) -> None:
    with pytest.raises(InvalidSettings, match="WARRENER_STORE"):
        open_store(url)


# ── what is over ─────────────────────────────────────────────────────────────────────────────────────────────


DAY = timedelta(days=1)


async def add_over(store: SqlStore, key: str, days: int, tasks: int = 3, **more: Any) -> RunRow:
    """Add a run that finished so many days ago, with a row of each sort for each of its tasks."""
    fields = {"state": "failed", "tasks": tasks, "finished_at": NOW - days * DAY, "digest": "d"} | more
    run = run_row(key, **fields)
    numbers = range(tasks)
    changes = Changes(
        definitions=[Definition("d", "w", "1", '{"tasks": {}}', NOW)],
        new_runs=[run],
        new_tasks=[task_row(run.id, n, state=State.FAILED, shard=run.shard) for n in numbers],
        needs=[(run.id, 0, n) for n in numbers[1:]],
        attempts=[AttemptRow(run.id, n, 1, "retry", "w", NOW, None, NOW) for n in numbers],
        logs=[LogPiece(run.id, n, 1, "stdout", 0, "hello") for n in numbers],
        strays=[Stray(run.id, n, 1, "w", "late", "{}", NOW) for n in numbers],
    )
    await store.transact(lambda tx: tx.write(changes))
    return run


async def retire(store: SqlStore, before: datetime, limit: int) -> list[PastRow]:
    """Drop everything that finished before a moment, step by step; return it."""
    gone: list[PastRow] = []
    while rows := await store.read(lambda tx: tx.past.find(1, before, limit)):
        await store.transact(lambda tx, rows=rows: tx.past.drop(rows, before))  # type: ignore[misc]
        gone += rows
        assert len(gone) < 1_000
    return gone


@pytest.mark.parametrize("limit", [1, 4, 500])
async def test_runs_that_are_over_leave_with_everything_of_theirs(store: SqlStore, limit: int) -> None:
    old, older = await add_over(store, "old", 3), await add_over(store, "older", 4)
    young, other = await add_over(store, "young", 1), await add_over(store, "other", 4, shard=2)
    open_ = await add_over(store, "open", 4, state="running", finished_at=None)
    gone = await retire(store, NOW - 2 * DAY, limit)
    assert {row.run for row in gone} == {old.id, older.id}
    tables = [row.table for row in gone if row.run == old.id and row.table != "workflows"]
    assert sorted(tables) == sorted(["tasks", "attempts", "logs", "strays"] * 3 + ["needs"] * 2 + ["runs"])
    assert [row.table for row in gone if row.table in ("tasks", "runs")][-1] == "runs"
    assert next(row.fields for row in gone if row.table == "workflows")["definition"] == '{"tasks": {}}'
    assert json.loads(json.dumps([row.fields for row in gone]))
    left = await store.read(lambda tx: tx.runs.list(RunFilter()))
    assert {run.id for run in left} == {young.id, other.id, open_.id}
    for run, number in ((old, 0), (young, 3)):
        assert len(await store.read(lambda tx, run=run: tx.tasks.of_run(run.id))) == number  # type: ignore[misc]
        ref = TaskRef(run.id, 1)
        assert len(await store.read(lambda tx, ref=ref: tx.tasks.attempts(ref))) == min(number, 1)  # type: ignore[misc]
        assert len(await store.read(lambda tx, ref=ref: tx.notes.strays(ref))) == min(number, 1)  # type: ignore[misc]
    assert await store.read(lambda tx: tx.runs.definition("d")) is not None


async def test_the_key_of_a_run_that_left_is_free_again(store: SqlStore) -> None:
    await add_over(store, "k", 3)
    await retire(store, NOW, 500)
    assert await store.read(lambda tx: tx.runs.known([("me", "k")])) == {}
    await store.transact(lambda tx: tx.write(Changes(new_runs=[run_row("k")])))


async def test_a_run_that_was_retried_meanwhile_stays(store: SqlStore) -> None:
    run = await add_over(store, "k", 3)
    rows = await store.read(lambda tx: tx.past.find(1, NOW, 500))
    run.state, run.finished_at = "running", None
    await store.transact(lambda tx: tx.write(Changes(runs=[run])))
    await store.transact(lambda tx: tx.past.drop(rows, NOW))
    assert len(await store.read(lambda tx: tx.tasks.of_run(run.id))) == 3


async def test_old_evidence_is_forgotten(store: SqlStore) -> None:
    strays = [Stray(RUN, 0, 1, "w", "late", "{}", NOW - days * DAY) for days in (5, 4, 1)]
    parked = [ParkedMessage(0, f"m{days}", "no", "x", "k", "t", b"", {}, NOW - days * DAY) for days in (5, 1)]
    await store.transact(lambda tx: tx.write(Changes(strays=strays, parked=parked)))
    assert await store.transact(lambda tx: tx.past.forget(NOW - 2 * DAY, 1)) == 2
    assert await store.transact(lambda tx: tx.past.forget(NOW - 2 * DAY, 100)) == 1
    assert [stray.at for stray in await store.read(lambda tx: tx.notes.strays(TaskRef(RUN, 0)))] == [NOW - DAY]
    assert [one.message_id for one in await store.read(lambda tx: tx.notes.parked(9))] == ["m1"]


async def test_drains_are_kept_until_they_are_lifted(store: SqlStore) -> None:
    first = Drain("worker", "w", "anna", "new disk", NOW)
    again = Drain("worker", "w", "ben", "", NOW + DAY)
    host = Drain("host", "w", "anna", "", NOW)
    for drain in (first, host, again):
        await store.transact(lambda tx, drain=drain: tx.restraints.drain(drain))  # type: ignore[misc]
    assert await store.read(lambda tx: tx.restraints.drains()) == [host, again]
    assert await store.transact(lambda tx: tx.restraints.undrain("worker", "w"))
    assert not await store.transact(lambda tx: tx.restraints.undrain("worker", "w"))
    assert await store.read(lambda tx: tx.restraints.drains()) == [host]


async def test_a_penalty_takes_the_place_of_the_one_before(store: SqlStore) -> None:
    first = [Penalty(host, 1, 0, None, "why", NOW) for host in ("a", "b")]
    later = [Penalty("b", 3, 1, NOW + DAY, "why not", NOW)]
    for changes in (Changes(penalties=first), Changes(penalties=later, cleared=["a"])):
        await store.transact(lambda tx, changes=changes: tx.write(changes))  # type: ignore[misc]
    assert await store.read(lambda tx: tx.restraints.penalties()) == later


async def test_deaths_are_of_tasks_that_go_on(store: SqlStore) -> None:
    over, open_ = task_row(RUN, 0, finished_at=NOW), task_row(RUN, 1)
    await add(store, over, open_)
    deaths = [
        Death(RUN, n, attempt, 1, WorkerName("w"), BootId(f"b{attempt}"), NOW) for n in (0, 1) for attempt in (1, 2, 3)
    ]

    async def left(*changes: Changes) -> list[int]:
        for one in changes:
            await store.transact(lambda tx, one=one: tx.write(one))  # type: ignore[misc]
        return [death.attempt for death in await store.read(lambda tx: tx.restraints.deaths([1]))]

    assert await left(Changes(deaths=deaths), Changes(deaths=deaths[:2])) == [1, 2, 3]
    assert await store.read(lambda tx: tx.restraints.deaths([2])) == []
    assert await left(Changes(returned=[BootId("b2")])) == [1, 3]
    assert await left(Changes(pardoned=[RUN])) == []
