"""Submits to one library's workers, and writes what came of it: `python -m benches.peers.driver celery_app …`.

Runs in the environment of the others; started beside the workers, of which it knows only the first process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from statistics import quantiles

from benches.processes import cpu_s
from fleet.process import descendants

from .given import TALLY
from .submitting import Submit
from .tally import Counts

_WARM_UP = 200
_IDLE_S = 0.02
_LOOK_S, _LOOK_CLOSELY_S = 0.005, 0.001


def main() -> int:
    options = _options()
    counts = Counts(TALLY)
    with importlib.import_module(f"benches.peers.{options.app}").connected() as submit:
        _all_done(counts, submit, 1)
        _all_done(counts, submit, _WARM_UP)
        starts_ms = [_single(counts, submit) for _ in range(options.singles)]
        figures = {**_latency(starts_ms), **_throughput(counts, submit, options.tasks, options.worker)}
        options.figures.write_text(json.dumps(figures))
    return 0


def _throughput(counts: Counts, submit: Submit, tasks: int, worker: int) -> dict[str, float]:
    pids = [os.getpid(), worker, *descendants(worker)]
    cpu_before_s, begun_ns = sum(map(cpu_s, pids)), time.monotonic_ns()
    _all_done(counts, submit, tasks)
    cpu_after_s, seconds = sum(map(cpu_s, pids)), (counts.last_done_ns - begun_ns) / 1e9
    return {"tasks_per_s": tasks / seconds, "cpu_s_per_1000": (cpu_after_s - cpu_before_s) / tasks * 1000}


def _latency(starts_ms: list[float]) -> dict[str, float]:
    percentiles = quantiles(starts_ms, n=100, method="inclusive")
    return {"start_p50_ms": percentiles[49], "start_p99_ms": percentiles[98]}


def _single(counts: Counts, submit: Submit) -> float:
    begun_ns = time.monotonic_ns()
    _all_done(counts, submit, 1, look_s=_LOOK_CLOSELY_S)
    time.sleep(_IDLE_S)  # idle again
    return (counts.last_start_ns - begun_ns) / 1e6


def _all_done(counts: Counts, submit: Submit, tasks: int, *, look_s: float = _LOOK_S) -> None:
    """Submit, and wait until as many more are done; whoever started this ends it when it takes too long."""
    goal = counts.done + tasks
    submit(tasks)
    while (done := counts.done) < goal:
        time.sleep(look_s)
    if done > goal:
        raise SystemExit(f"{done - goal} tasks ran twice: these figures would be wrong")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="driver")
    parser.add_argument("app", help="module of the library: celery_app, …")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--singles", type=int, required=True, help="tasks submitted one at a time")
    parser.add_argument("--worker", type=int, required=True, help="id of the workers' first process")
    parser.add_argument("--figures", type=Path, required=True, help="file to write them to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
