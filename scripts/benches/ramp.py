"""More and more calls per second, until their start is delayed for too long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from .percentiles import percentile
from .places import Place
from .starts import Starts
from .stream import Stream

ADDED_PER_S = 500
TOO_LATE_S = 2.0
_STEPS = 40
_A_RUN = 100


async def ramp(place: Place, _tasks: int, seconds: float) -> dict[str, object]:
    """500 more calls per second every --step-seconds (30), until their start is delayed by more than 2 s (p99)."""
    steps: list[dict[str, float]] = []
    with TemporaryDirectory(prefix="warrener-starts-") as folder:
        starts = Starts(Path(folder) / "starts")
        for number in range(1, _STEPS + 1):
            asked = number * ADDED_PER_S
            stream = Stream(place, starts, f"ramp-{asked}", a_run=_A_RUN)
            cpu_s, begun = place.cpu_s(), time.perf_counter()
            asking = asyncio.create_task(stream.at(asked, seconds, lambda: 0.0))
            try:
                await asyncio.wait([asking], timeout=seconds + 2 * TOO_LATE_S)
                elapsed_s = time.perf_counter() - begun
                delays_s = starts.new_s() or [elapsed_s]
            finally:
                asking.cancel()  # what is not accepted by now is late
                await asyncio.wait([asking])
            step = {
                "asked_per_s": asked,
                "started_per_s": round(len(delays_s) / elapsed_s),
                "start_p50_s": percentile(delays_s, 50),
                "start_p99_s": percentile(delays_s, 99),
                "cores": round((place.cpu_s() - cpu_s) / elapsed_s, 2),
            }
            steps.append(step)
            if step["start_p99_s"] > TOO_LATE_S or not asking.done():
                break
    reached = [step["started_per_s"] for step in steps if step["start_p99_s"] <= TOO_LATE_S]
    return {
        "steps": steps,
        "step_seconds": seconds,
        "reached_per_s": max(reached, default=0),
        "bound": f"until start_p99_s > {TOO_LATE_S:g}, or {_STEPS} steps",
    }
