"""How the scheduler fares while very many tasks wait: the curve from a thousand to as many as asked for."""

from __future__ import annotations

import asyncio
import os
import re
import time
from itertools import takewhile

import asyncpg

from fleet.process import descendants
from fleet.stack import Fleet
from warrener.messages import RunRequest

from .backlog import A_RUN, fill
from .places import Place, calls
from .processes import cpu_s, rss_mib

RELEASED = 5_000
"""Tasks of the runs that end at each point of the curve; as many are submitted meanwhile."""

_MORE = ("gateway", "env_setup", "data_staging", "job_submission")
_PROGRAMS = ("scheduler", "bench", *_MORE)
_SUBMITTING = 10


async def waiting(place: Place, tasks: int) -> dict[str, object]:
    """Release rate, CPU, memory and start-up with 1,000 … `--tasks` waiting in the store (needs --on fleet)."""
    fleet = place.fleet
    if fleet is None:
        raise SystemExit("waiting fills the store before the scheduler starts: add --on fleet")
    model = await place.run(calls("noop", A_RUN), "waiting-model")
    fleet.start(*_MORE)
    curve: list[dict[str, float]] = []
    filled = 0
    for number in takewhile(lambda number: number <= tasks, (10**power for power in range(3, 8))):
        await asyncio.to_thread(fleet.stop, "scheduler")
        await fill(place.store, fleet.store_url, model, f"backlog-{number}", number - filled)
        filled = number
        start_s = await _started(fleet)
        curve.append({"waiting": number, "start_s": round(start_s, 2), **await _released(place, fleet, str(number))})
    last = curve[-1]
    within = last["start_s"] < 30 and last["rss_mib"] <= 600
    goal = "start_s < 30 and rss_mib <= 600 at 1,000,000; tasks_per_s and cpu_s_per_1000 as at 1,000"
    return {"curve": curve, "goal": goal, "start_and_memory_within": within}


async def _started(fleet: Fleet) -> float:
    """Start the scheduler; return the seconds until it schedules, its interpreter's start included."""
    before, begun = _sessions(fleet), time.perf_counter()
    fleet.again("scheduler")
    await asyncio.to_thread(fleet.wait_until, "scheduler", lambda: _sessions(fleet) > before)
    return time.perf_counter() - begun


def _sessions(fleet: Fleet) -> int:
    return len(re.findall(r'"event": ?"scheduling"', fleet.log_of("scheduler")))


async def _released(place: Place, fleet: Fleet, batch: str) -> dict[str, float]:
    pids = [fleet.pid(name) for name in _PROGRAMS]
    await asyncio.sleep(1)  # the workers' heartbeats, which follow the roll call
    servers = set(descendants(os.getpid())) - set(pids)
    while not place.client.heard.empty():
        place.client.heard.get_nowait()
    before = await _done(fleet)
    own_s, servers_s, begun = sum(map(cpu_s, pids)), sum(map(cpu_s, servers)), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        keys = [f"{batch}-{number}" for number in range(RELEASED // A_RUN)]
        for first in range(_SUBMITTING):
            group.create_task(_submit(place, keys[first::_SUBMITTING]))
        done = 0
        while done < RELEASED:
            done += A_RUN * ((await place.client.heard.get()).state == "succeeded")
    seconds = time.perf_counter() - begun
    used = {"cpu_s": sum(map(cpu_s, pids)) - own_s, "servers_cpu_s": sum(map(cpu_s, servers)) - servers_s}
    # More than those of the runs that ended: many runs of the backlog have tasks that wait for others of theirs.
    released = await _done(fleet) - before
    return {
        "tasks_per_s": round(released / seconds),
        **{f"{name}_per_1000": round(value / released * 1_000, 3) for name, value in used.items()},
        "rss_mib": round(sum(map(rss_mib, pids))),
        "scheduler_rss_mib": round(rss_mib(fleet.pid("scheduler"))),
    }


async def _done(fleet: Fleet) -> int:
    connection = await asyncpg.connect(fleet.store_url)
    try:
        number: int = await connection.fetchval("SELECT count(*) FROM tasks WHERE state = 'succeeded'")
        return number
    finally:
        await connection.close()


async def _submit(place: Place, keys: list[str]) -> None:
    for key in keys:
        await place.client.submit(calls("noop", A_RUN), [RunRequest(key=key)])
