"""The command `scripts/bench NAME [--on embedded|fleet]`, and `scripts/bench --against`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warrener.runtime.logs import configure_logs
from warrener.runtime.serve import loop_factory

from .makespan import APP, makespans, read_replays
from .measures import MEASURES, TIMED
from .places import place

TASKS = {"waiting": 100_000, "facebook": 10_000}
SECONDS = {"facebook": 60.0, "ramp": 30.0}

MAKESPAN = "makespan"
_MAKESPAN = "Replays of executions in WfFormat, against list scheduling without overhead; a line for each FILE."


def main() -> int:
    if "--against" in sys.argv:
        from .peers.command import main as against

        return against(sys.argv[1:])
    options = _options()
    configure_logs("warning")
    with (
        tempfile.TemporaryDirectory(prefix="warrener-bench-") as folder,
        asyncio.Runner(loop_factory=loop_factory()) as runner,  # the loop that the programs run on
    ):
        runner.run((_makespans if options.name == MAKESPAN else _measure)(options, Path(folder)))
    return 0


def _tell(options: argparse.Namespace, figures: Mapping[str, Any]) -> None:
    print(json.dumps({"bench": options.name, "on": options.on, **figures}), flush=True)


async def _measure(options: argparse.Namespace, folder: Path) -> None:
    tasks, seconds = options.tasks or TASKS.get(options.name, 20_000), options.seconds or SECONDS.get(options.name, 0)
    async with asyncio.timeout(max(options.timeout, 2 * seconds)), place(options.on, folder) as running:
        if options.name in TIMED:
            figures = await TIMED[options.name](running, tasks, seconds)
        else:
            figures = await MEASURES[options.name](running, tasks)
    _tell(options, figures)


async def _makespans(options: argparse.Namespace, folder: Path) -> None:
    replays = read_replays(options.files, options.slots, options.bound)
    async with (
        asyncio.timeout(options.timeout),
        place(options.on, folder, slots=options.slots, app=APP) as running,
    ):
        await makespans(running, replays, lambda figures: _tell(options, figures))


def _options() -> argparse.Namespace:
    lines = [f"  {name:<12} {(measure.__doc__ or '').splitlines()[0]}" for name, measure in (MEASURES | TIMED).items()]
    lines.append(f"  {MAKESPAN:<12} {_MAKESPAN}")
    parser = argparse.ArgumentParser(
        prog="bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure one thing, and print one line of JSON. `--against --help`: beside other systems.\n\n"
        + "\n".join(lines),
    )
    names = [*MEASURES, *TIMED, MAKESPAN]
    parser.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("files", nargs="*", metavar="FILE", help="makespan: executions in WfFormat 1.5, one or more")
    parser.add_argument(
        "--on", choices=("embedded", "fleet"), default="embedded",
        help="embedded: one process, SQLite, in-process broker; fleet: separate processes over a private RabbitMQ node"
        " and PostgreSQL server, started here",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", type=int, default=0, help="how many at most (default 20,000; waiting 100,000; facebook 10,000)"
    )
    parser.add_argument(
        "--seconds", "--step-seconds", type=float, default=0,
        help="how long facebook is (default 60; 600 is the full test), and a step of ramp (default 30)",
    )  # fmt: skip
    parser.add_argument("--slots", type=int, default=32, help="makespan: how many tasks run at a time (default 32)")
    parser.add_argument(
        "--bound", type=float, default=20,
        help="makespan: run times are scaled so that the critical path, or the work divided by the slots, takes so many"
        " seconds (default 20)",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, default=300, help="seconds until it is given up (default 300)")
    options = parser.parse_args()
    if (options.name == MAKESPAN) != bool(options.files):
        parser.error("makespan takes one FILE or more, and nothing else does")
    if options.slots < 1 or not 0 < options.bound < float("inf"):
        parser.error("--slots is 1 or more, and --bound above 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
