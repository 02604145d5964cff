"""The command `scripts/bench --against [SYSTEM …]`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benches.places import SLOTS
from fleet.stack import Fleet
from warrener.runtime.logs import configure_logs
from warrener.runtime.serve import loop_factory

from .figures import Row, from_json, table, to_json
from .plot import plot
from .rounds import Extent, measured
from .systems import SYSTEMS, WARRENER, System

_HELP = """\
Measure Warrener and others in turns on one private RabbitMQ node, with the same durability: durable queues,
persistent messages, publisher confirms, acknowledgement after the work. No-op tasks; bodies of 360 bytes, one task
to a message (Warrener: 100 tasks to a submission). Prints a line of JSON for each, and a table in Markdown."""


def main(words: Sequence[str]) -> int:
    options = _options(words)
    try:
        rows = _read(options.read) if options.read else _measure(options)
    except KeyboardInterrupt:
        _tell("stopped, and all that was started with it")
        return 130
    for row in rows:
        print(to_json(row, rows))
    print("\n" + table(rows))
    if options.plot:
        options.plot.write_text(plot(rows))
    return 1 if any(row.problem for row in rows) else 0


def _read(path: Path) -> tuple[Row, ...]:
    """Read the lines of JSON in what this command printed."""
    return tuple(from_json(line) for line in path.read_text().splitlines() if line.startswith("{"))


def _measure(options: argparse.Namespace) -> tuple[Row, ...]:
    configure_logs("warning")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored: in the background
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # both end all that was started
    extent = Extent(options.rounds, options.tasks, options.singles, options.timeout)
    with (
        tempfile.TemporaryDirectory(prefix="warrener-against-") as folder,
        Fleet(Path(folder), settings={"WARRENER_SLOTS": str(SLOTS)}) as fleet,
        asyncio.Runner(loop_factory=loop_factory()) as runner,  # the loop that the programs run on
    ):
        return runner.run(measured(fleet, _chosen(options.against), extent, _tell))


def _chosen(names: Sequence[str]) -> tuple[System, ...]:
    """Return the systems of these names, or all; Warrener is always among them."""
    return tuple(system for system in SYSTEMS if system is WARRENER or not names or system.name in names)


def _tell(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _options(words: Sequence[str]) -> argparse.Namespace:
    settings = [f"  {system.name:<18} {system.settings}" for system in SYSTEMS]
    parser = argparse.ArgumentParser(
        prog="bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{_HELP}\n\n" + "\n".join(settings),
    )
    names = [system.name for system in SYSTEMS if system is not WARRENER]
    parser.add_argument(
        "--against", nargs="*", choices=names, required=True, metavar="SYSTEM", help=f"{', '.join(names)}; none: all"
    )
    parser.add_argument("--rounds", type=int, default=3, help="each measures every system once (default 3)")
    parser.add_argument(
        "--tasks", type=int, default=10_000, help="in a round; Celery has fewer, so as to take as long (default 10,000)"
    )
    parser.add_argument("--singles", type=int, default=100, help="tasks submitted at idle in a round (default 100)")
    parser.add_argument(
        "--timeout", type=float, default=300, help="seconds; no round that would end later (default 300)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the medians")
    parser.add_argument("--read", type=Path, metavar="FILE", help="show lines of JSON printed before, measure nothing")
    options = parser.parse_args(words)
    if min(options.rounds, options.tasks // 100, options.singles // 2) < 1:
        parser.error("at least 1 round, 100 tasks and 2 singles are needed for a figure")
    return options
