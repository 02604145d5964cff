"""The command `scripts/bench NAME [--on embedded|fleet]`, and `scripts/bench --against`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from warrener.runtime.logs import configure_logs
from warrener.runtime.serve import loop_factory

from .measures import MEASURES, TIMED
from .places import place

TASKS = {"waiting": 100_000, "facebook": 10_000}
SECONDS = {"facebook": 60.0, "ramp": 30.0}


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
        figures = runner.run(_measure(options, Path(folder)))
    print(json.dumps({"bench": options.name, "on": options.on, **figures}))
    return 0


async def _measure(options: argparse.Namespace, folder: Path) -> Mapping[str, object]:
    tasks, seconds = options.tasks or TASKS.get(options.name, 20_000), options.seconds or SECONDS.get(options.name, 0)
    async with asyncio.timeout(max(options.timeout, 2 * seconds)), place(options.on, folder) as running:
        if options.name in TIMED:
            return await TIMED[options.name](running, tasks, seconds)
        return await MEASURES[options.name](running, tasks)


def _options() -> argparse.Namespace:
    lines = [f"  {name:<12} {(measure.__doc__ or '').splitlines()[0]}" for name, measure in (MEASURES | TIMED).items()]
    parser = argparse.ArgumentParser(
        prog="bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure one thing, and print one line of JSON. `--against --help`: beside other systems.\n\n"
        + "\n".join(lines),
    )
    parser.add_argument("name", choices=[*MEASURES, *TIMED], metavar="NAME", help=", ".join([*MEASURES, *TIMED]))
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
    parser.add_argument("--timeout", type=float, default=300, help="seconds until it is given up (default 300)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
