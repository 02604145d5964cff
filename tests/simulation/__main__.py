"""The command `scripts/simulate`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import chain

from simulation.mutations import MUTATIONS, mutated
from simulation.world import Result, World


def main() -> int:
    options = _options()
    if options.seed is not None:
        return _replay(options)
    seeds = range(options.first, options.first + options.seeds)
    begun_s = time.monotonic()
    failed: list[Result] = []
    steps = 0
    parts = [(seeds[start : start + 10], options.mutation) for start in range(0, len(seeds), 10)]
    with ProcessPoolExecutor(options.processes) as pool:
        for result in chain.from_iterable(pool.map(_simulate, parts)):
            steps += result.steps
            if result.violation is not None:
                failed.append(result)
                _say(f"seed {result.seed}: {result.violation}\n    replay: scripts/simulate --seed {result.seed}")
                if options.stop_at and len(failed) >= options.stop_at:
                    pool.shutdown(cancel_futures=True)
                    break
    took_s = time.monotonic() - begun_s
    _say(f"{len(seeds)} seeds from {options.first}, {steps:,} steps in {took_s:.0f} s: {len(failed)} violations")
    return 1 if failed else 0


def _simulate(part: tuple[range, str | None]) -> list[Result]:
    seeds, mutation = part
    with mutated(mutation):
        return [World(seed).run() for seed in seeds]


def _replay(options: argparse.Namespace) -> int:
    with mutated(options.mutation):
        result = World(options.seed, show=options.trace).run()
    _say(
        f"seed {result.seed}: {result.violation or 'no violation'}; {result.steps:,} steps, {result.virtual_s:.0f} s of"
        f" virtual time, {result.lives} lives, {result.runs} runs, trace {result.digest}"
    )
    return 1 if result.violation else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="simulate",
        description="Run the real scheduler and worker on virtual time, under faults drawn from seeds.",
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="replay this one alone")
    parser.add_argument("--trace", action="store_true", help="show what happens, line by line; with --seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one per core")
    parser.add_argument("--stop-at", type=int, default=0, help="stop after this many violations (default: never)")
    parser.add_argument("--mutation", choices=MUTATIONS, help="break a rule on purpose, to see that it is found")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
