"""The test that Facebook set Dron: to run 10,000 task instances at any given moment.

Half of them hold their slots throughout, the others end after about a minute and are followed by as many.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from fleet.process import descendants
from fleet.stack import Fleet

from .percentiles import percentile
from .places import Place
from .processes import cpu_s, rss_mib
from .starts import Starts
from .stream import Stream

IN_FLIGHT = 10_000
FULL_S = 600
WORKERS = 4
_MORE = tuple(f"bench@{number}" for number in range(2, WORKERS + 2))
_PROGRAMS = ("scheduler", "bench", *_MORE)
_MINUTE_S = 60.0
_FILLING_PER_S = 500.0
_A_RUN = 10


async def facebook(place: Place, tasks: int, seconds: float) -> dict[str, object]:
    """Start delay with 10,000 calls in flight, half for long, half of a minute, for --seconds (60; all of it: 600)."""
    fleet, half, rng = place.fleet, tasks // 2, Random()
    if fleet is None:
        raise SystemExit("facebook needs workers with thousands of slots: add --on fleet")
    with TemporaryDirectory(prefix="warrener-starts-") as folder:
        starts = Starts(Path(folder) / "starts")
        _start_workers(fleet, slots=tasks * 5 // 4 // WORKERS)  # a quarter more than tasks: nobody waits for a slot
        long, short = (Stream(place, starts, name, a_run=_A_RUN) for name in ("long", "short"))
        filled = await long.at(_FILLING_PER_S, half / _FILLING_PER_S, lambda: 86_400.0)
        # As if they had run for a while: they end one after another, not all at once.
        filled += await short.at(_FILLING_PER_S, half / _FILLING_PER_S, lambda: rng.uniform(15, 15 + _MINUTE_S))
        await _started(starts, filled)
        pids = [fleet.pid(name) for name in _PROGRAMS]
        servers = set(descendants(os.getpid())) - set(pids)
        own_s, servers_s, begun = sum(map(cpu_s, pids)), sum(map(cpu_s, servers)), time.perf_counter()
        asked = await short.at(half / _MINUTE_S, seconds, lambda: rng.uniform(0.75, 1.25) * _MINUTE_S)
        elapsed_s = time.perf_counter() - begun
        own_s, servers_s = sum(map(cpu_s, pids)) - own_s, sum(map(cpu_s, servers)) - servers_s
        delays_s = await _started(starts, asked)
        in_flight = await place.store.read(lambda tx: len(tx.tasks.in_flight(range(1024))))
    figures = {"rss_mib": round(sum(map(rss_mib, pids))), "scheduler_rss_mib": round(rss_mib(pids[0]))}
    for name in _PROGRAMS[1:]:
        fleet.kill(name)  # as planned they would wait for what they run
    p99_s = percentile(delays_s, 99)
    return {
        "form": "full" if seconds >= FULL_S else f"short: {seconds:g} s of {FULL_S}",
        "in_flight_at_the_end": in_flight,
        "started": len(delays_s),
        "starts_per_s": round(len(delays_s) / elapsed_s, 1),
        "start_p50_s": percentile(delays_s, 50),
        "start_p99_s": p99_s,
        "cores": round(own_s / elapsed_s, 2),
        "servers_cores": round(servers_s / elapsed_s, 2),
        **figures,
        "goal": "start_p99_s <= 1",
        "met": p99_s <= 1 and len(delays_s) >= asked,
    }


def _start_workers(fleet: Fleet, *, slots: int) -> None:
    command = [sys.executable, "-m", "benches.app"]
    for name in _MORE:
        fleet.run(name, command, PYTHONPATH=str(Path(__file__).parent.parent), WARRENER_SLOTS=str(slots))


async def _started(starts: Starts, number: int) -> list[float]:
    """Wait until so many calls have started, a minute at most; return their delays, in seconds."""
    delays_s = starts.new_s()
    until = time.perf_counter() + 60
    while len(delays_s) < number and time.perf_counter() < until:
        await asyncio.sleep(0.1)
        delays_s += starts.new_s()
    return delays_s
