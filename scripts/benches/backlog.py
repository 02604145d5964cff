"""Unfinished tasks put straight into the store, in thousands: real tasks of real runs, in no time.

They are copies of a run that the scheduler made. Of every two runs one has its tasks ready, in the lane of the app
`bench`; in the other the first task waits for a retry tomorrow, and the rest for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import asyncpg

from warrener.ids import RunId, new_run_id, shard_for
from warrener.runs import RunState
from warrener.store import Changes, RunRow, Store, Transaction
from warrener.stores.tables import tasks, to_microseconds

A_RUN = 100
_A_BATCH = 1_000

_FRESH = {
    "run": "r.id", "shard": "r.shard", "level": "9 - t.priority", "attempt": "0", "tries": "0", "worker": "NULL",
    "boot": "NULL", "ordered_at": "NULL", "started_at": "NULL", "finished_at": "NULL", "cause": "NULL",
    "message": "NULL", "exit_code": "NULL", "output": "NULL",
}  # fmt: skip
_COLUMNS = [column.name for column in tasks.c]


async def fill(store: Store, url: str, model: RunId, batch: str, number: int) -> None:
    """Add so many unfinished tasks, in runs like `model`; `batch` tells their keys from others'."""
    now, rng = datetime.now(UTC), Random()
    shards = (await store.migrate(shards=64)).shards
    rows = await store.read(lambda tx: tx.runs.load([model]))
    runs = [_run(rows[model], f"{batch}-{place}", shards, now, rng) for place in range(number // A_RUN)]
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        for start in range(0, len(runs), _A_BATCH):
            some = runs[start : start + _A_BATCH]
            await store.transact(_adding(some))
            ready, waiting = [run.id for run in some[::2]], [run.id for run in some[1::2]]
            await connection.execute(_copies(_ready(now)), model, ready)
            await connection.execute(_copies(_waiting(now)), model, waiting)
            await connection.execute(_NEEDS, model, waiting)
        await connection.execute("VACUUM ANALYZE tasks, runs, needs")
    finally:
        await connection.close()


def _run(model: RunRow, key: str, shards: int, now: datetime, rng: Random) -> RunRow:
    shard = shard_for(model.owner, key, shards)
    return replace(
        model, id=new_run_id(now, shard, rng), shard=shard, key=key, state=RunState.RUNNING, accepted_at=now,
        unfinished=model.tasks, finished_at=None,
    )  # fmt: skip


def _adding(runs: Sequence[RunRow]) -> Callable[[Transaction], None]:
    return lambda tx: tx.write(Changes(new_runs=runs))


def _ready(now: datetime) -> dict[str, str]:
    return {"state": "'ready'", "unmet": "0", "ready_at": str(to_microseconds(now)), "due_at": "NULL"}


def _waiting(now: datetime) -> dict[str, str]:
    tomorrow = to_microseconds(now + timedelta(days=1))
    return {
        "state": "'waiting'", "unmet": "CASE WHEN t.n = 0 THEN 0 ELSE 1 END", "ready_at": "NULL",
        "fanout": f"CASE WHEN t.n = 0 THEN {A_RUN - 1} ELSE 0 END",
        "due_at": f"CASE WHEN t.n = 0 THEN {tomorrow} END",
    }  # fmt: skip


def _copies(changed: dict[str, str]) -> str:
    return _insert("tasks", ((name, {**_FRESH, **changed}.get(name, f"t.{name}")) for name in _COLUMNS), "")


_FROM = " FROM runs r CROSS JOIN tasks t WHERE t.run = $1 AND r.id = ANY($2::text[])"


def _insert(table: str, values: Iterable[tuple[str, str]], more: str) -> str:
    names, expressions = zip(*values, strict=True)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(expressions)}{_FROM}{more}"


_NEEDS = _insert("needs", (("run", "r.id"), ("upstream", "0"), ("n", "t.n")), " AND t.n > 0")
