"""What is measured. Each returns its figures; the docstring's first line is the help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import quantiles

from warrener.ids import RunId
from warrener.messages import RunRequest

from .facebook import facebook
from .flood import flood
from .places import Place, calls
from .ramp import ramp
from .schedulers import schedulers
from .urgent import urgent
from .waiting import waiting

A_RUN = 100
"""Tasks in a run of `throughput`: a submission message carries one run."""

_SUBMITTING = 20


async def throughput(place: Place, tasks: int) -> dict[str, float]:
    """No-op calls, from the first submission to the last result in the store."""
    workflow = calls("noop", A_RUN)
    runs: set[RunId] = set()
    cpu_s, cpu_by, begun = place.cpu_s(), place.cpu_by(), time.perf_counter()

    async def submit(keys: list[str]) -> None:
        for key in keys:
            (answer,) = await place.client.submit(workflow, [RunRequest(key=key)])
            assert answer.run is not None, answer.problems
            runs.add(answer.run)

    keys = [f"throughput-{number}" for number in range(tasks // A_RUN)]
    async with asyncio.TaskGroup() as group:
        for first in range(_SUBMITTING):
            group.create_task(submit(keys[first::_SUBMITTING]))
    await place.ended(runs)
    seconds, number = time.perf_counter() - begun, len(runs) * A_RUN
    return {
        "tasks": number,
        "tasks_per_s": round(number / seconds),
        "cpu_s_per_1000": round((place.cpu_s() - cpu_s) / number * 1000, 3),
        "rss_mib": round(place.rss_mib()),
        **{f"{who}_ms_per_1000": round((spent - cpu_by[who]) / number * 1e6) for who, spent in place.cpu_by().items()},
    }


async def latency(place: Place, tasks: int) -> dict[str, float]:
    """One call at a time on an idle system: from submission to start, and to the result in the store."""
    workflow = calls("stamp", 1)
    starts_ms: list[float] = []
    results_ms: list[float] = []
    for number in range(min(tasks, 300)):
        begun_ns = time.monotonic_ns()
        run = await place.run(workflow, f"latency-{number}")
        results_ms.append((time.monotonic_ns() - begun_ns) / 1e6)
        (task,) = await place.tasks(run)
        starts_ms.append((int(task.output or 0) - begun_ns) / 1e6)
        await asyncio.sleep(0.02)  # idle again
    return {
        "tasks": len(starts_ms),
        "start_p50_ms": _percentile(starts_ms, 50),
        "start_p99_ms": _percentile(starts_ms, 99),
        "result_p50_ms": _percentile(results_ms, 50),
    }


async def chain(place: Place, tasks: int) -> dict[str, float]:
    """1,000 calls, each needing the one before."""
    number = min(tasks, 1_000)
    section = {"function": "bench.noop", "args": {}}
    workflow = {
        "workflow": "chain",
        "tasks": {f"t{n}": {"call": section, "needs": [f"t{n - 1}"] if n else []} for n in range(number)},
    }
    return {"tasks": number, "seconds": await _seconds(place.run(workflow, "chain"))}


async def fan(place: Place, tasks: int) -> dict[str, float]:
    """One call, then 1,000 that need it, then one that needs all of them."""
    number = min(tasks, 1_000)
    section = {"function": "bench.noop", "args": {}}
    middle = [f"t{n}" for n in range(number)]
    workflow = {
        "workflow": "fan",
        "tasks": {
            "first": {"call": section},
            **{name: {"call": section, "needs": ["first"]} for name in middle},
            "last": {"call": section, "needs": middle},
        },
    }
    return {"tasks": number + 2, "seconds": await _seconds(place.run(workflow, "fan"))}


Measure = Callable[[Place, int], Awaitable[Mapping[str, object]]]
MEASURES: dict[str, Measure] = {measure.__name__: measure for measure in (throughput, latency, chain, fan, schedulers)}
MEASURES |= {"urgent": urgent, "waiting": waiting, "flood": flood}

Timed = Callable[[Place, int, float], Awaitable[Mapping[str, object]]]
TIMED: dict[str, Timed] = {"facebook": facebook, "ramp": ramp}
"""What is measured for a time that can be chosen."""


async def _seconds(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return round(time.perf_counter() - begun, 3)


def _percentile(values: list[float], percent: int) -> float:
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 2)
