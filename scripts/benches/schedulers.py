"""What several schedulers cost: the CPU time of the same work, decided by one and by four."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from statistics import median

import asyncpg

from warrener.ids import RunId
from warrener.messages import RunRequest

from .places import Place, calls
from .processes import cpu_s

MANY = 4
A_RUN = 100
_SUBMITTING = 20
_ALONE = 50
_WARM_UP = 4_000


async def schedulers(place: Place, tasks: int) -> dict[str, float]:
    """CPU seconds per 1,000 no-op calls with 1 and with 4 schedulers, and their ratio; `--on fleet` only."""
    if place.fleet is None:
        raise SystemExit("several schedulers need processes of their own: add --on fleet")
    one = await _measured(place, tasks, "one")
    for number in range(2, MANY + 1):
        place.fleet.start(f"scheduler@{number}")
        place.pids.append(place.fleet.pid(f"scheduler@{number}"))
    await _spread_over(place, MANY)
    many = await _measured(place, tasks, "many")
    grown = {name: many[name] - one[name] for name in ("schedulers", "worker", "client")}
    most = max(grown, key=lambda name: grown[name])
    print(
        f"of {many['total'] - one['total']:.3f} CPU seconds more per 1,000 tasks the {most} took {grown[most]:.3f}",
        file=sys.stderr,
    )
    figures = {f"{name}_{count}": round(of[name], 3) for name in one for count, of in ((1, one), (MANY, many))}
    return {"tasks": tasks, "ratio": round(many["total"] / one["total"], 2), **figures}


async def _measured(place: Place, tasks: int, name: str) -> dict[str, float]:
    """Return CPU seconds per 1,000 tasks by who took them, tasks per second, and the latency of one call alone."""
    await _flood(place, _WARM_UP, f"warm-{name}")  # what a process does for the first time takes longer
    committed = await _commits(place)
    before, begun = _cpu_s(place), time.perf_counter()
    number = await _flood(place, tasks, name)
    seconds = time.perf_counter() - begun
    took = {who: (spent - before[who]) / number * 1000 for who, spent in _cpu_s(place).items()}
    return {
        **took,
        "total": sum(took.values()),
        "tasks_per_s": number / seconds,
        "commits": (await _commits(place) - committed) / number * 1000,
        "alone_ms": await _alone_ms(place, name),
    }


async def _flood(place: Place, tasks: int, name: str) -> int:
    """Submit runs of no-op calls and wait for all of them; return how many calls there were."""
    workflow = calls("noop", A_RUN)
    runs: set[RunId] = set()

    async def submit(keys: list[str]) -> None:
        for key in keys:
            (answer,) = await place.client.submit(workflow, [RunRequest(key=key)])
            assert answer.run is not None, answer.problems
            runs.add(answer.run)

    keys = [f"{name}-{number}" for number in range(max(1, tasks // A_RUN))]
    async with asyncio.TaskGroup() as group:
        for first in range(_SUBMITTING):
            group.create_task(submit(keys[first::_SUBMITTING]))
    await place.ended(runs)
    return len(keys) * A_RUN


async def _alone_ms(place: Place, name: str) -> float:
    """Return the median from submission to start on an idle system; with four, three of four runs are another's."""
    found: list[float] = []
    for number in range(_ALONE):
        begun_ns = time.monotonic_ns()
        run = await place.run(calls("stamp", 1), f"alone-{name}-{number}")
        (task,) = await place.tasks(run)
        found.append((int(task.output or 0) - begun_ns) / 1e6)
        await asyncio.sleep(0.02)  # idle again
    return median(found)


async def _commits(place: Place) -> int:
    """Return how many transactions the database has committed, single statements among them."""
    assert place.fleet is not None
    await asyncio.sleep(1.5)  # a server process tells its counts at most once a second
    connection = await asyncpg.connect(place.fleet.store_url)
    try:
        return int(await connection.fetchval("SELECT sum(xact_commit) FROM pg_stat_database"))
    finally:
        await connection.close()


def _cpu_s(place: Place) -> dict[str, float]:
    assert place.fleet is not None
    worker = place.fleet.pid("bench")
    own = sum(cpu_s(pid) for pid in place.pids if pid != worker)
    return {"schedulers": own, "worker": cpu_s(worker), "client": time.process_time()}


async def _spread_over(place: Place, number: int) -> None:
    """Wait until so many schedulers own the shards evenly."""
    async with asyncio.timeout(120):
        while True:
            owners = Counter(row.owner for row in await place.store.read(lambda tx: tx.shards.all()))
            if len(owners) == number and max(owners.values()) - min(owners.values()) <= 1:
                break
            await asyncio.sleep(0.1)
    await asyncio.sleep(3)  # the first second of a session is none like the others
