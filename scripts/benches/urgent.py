"""How soon an urgent task starts while very many others are waiting and running."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from warrener.ids import RunId
from warrener.messages import RunRequest

from .percentiles import percentile
from .places import Place, calls

A_RUN = 100
URGENT = 50
_SUBMITTING = 20


async def urgent(place: Place, tasks: int) -> dict[str, object]:
    """Urgent calls, one after another, behind `--tasks` others (20,000): from submission to start."""
    others, workflow = calls("noop", A_RUN), calls("stamp", 1)
    runs: set[RunId] = set()

    async def submit(keys: list[str]) -> None:
        for key in keys:
            (answer,) = await place.client.submit(others, [RunRequest(key=key)])
            assert answer.run is not None, answer.problems
            runs.add(answer.run)

    keys = [f"other-{number}" for number in range(tasks // A_RUN)]
    with _frozen(place):  # else most are done before the last is accepted
        async with asyncio.TaskGroup() as group:
            for first in range(_SUBMITTING):
                group.create_task(submit(keys[first::_SUBMITTING]))
    starts_ms: list[float] = []
    ended: set[RunId] = set()
    while len(starts_ms) < URGENT and not runs <= ended:
        begun_ns = time.monotonic_ns()
        (answer,) = await place.client.submit(workflow, [RunRequest(key=f"urgent-{len(starts_ms)}", priority=9)])
        assert answer.run is not None, answer.problems
        while answer.run not in ended:
            event = await place.client.heard.get()
            if event.state == "succeeded":
                ended.add(event.run)
        (task,) = await place.tasks(answer.run)
        starts_ms.append((int(task.output or 0) - begun_ns) / 1e6)
    left = A_RUN * len(runs - ended)
    p50_ms = percentile(starts_ms, 50)
    return {
        "urgent": len(starts_ms),
        "others": tasks,
        "others_left": left,
        "start_p50_ms": p50_ms,
        "start_p99_ms": percentile(starts_ms, 99),
        "goal": "start_p50_ms <= 10",
        "met": p50_ms <= 10,
    }


@contextmanager
def _frozen(place: Place) -> Iterator[None]:
    """Let the worker stand still meanwhile, where it is a process of its own."""
    if place.fleet is None:
        yield
        return
    pid = place.fleet.pid("bench")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
