"""The command: options, where to run, and the one line at the end."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.runtime.logs import configure_logs
from warrener.settings import Settings
from warrener.signing import read_submit_key

from .accounts import Books
from .campaign import campaign
from .client import Orchestrator
from .load import Shape


def main() -> int:
    options = _options()
    configure_logs("warning")
    begun = time.monotonic()
    books = asyncio.run(_run(options))
    summary = books.summary(time.monotonic() - begun)
    complaints = books.complaints()
    for sentence in complaints[:50]:
        print(sentence, file=sys.stderr)
    print(json.dumps(summary))
    return 1 if complaints or summary["accepted"] != options.runs else 0


async def _run(options: argparse.Namespace) -> Books:
    with tempfile.TemporaryDirectory(prefix="warrener-orchestrator-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shape = Shape(
            runs=options.runs, fail=options.fail, slow=options.slow, cancel=options.cancel, twice=options.twice,
            slow_s=options.slow_s, whole=options.whole,
            ledger=options.ledger if options.on == "settings" else str(folder / "ledger"),
        )  # fmt: skip
        rng = Random(options.seed)
        async with _deployment(options.on, folder) as (broker, settings):
            key = read_submit_key(settings.keys_folder)
            owner = f"mock-{Random().randrange(10**9):09d}"  # a new campaign's runs are new, whatever the seed
            async with Orchestrator(broker, key, owner, Random()) as orchestrator:
                return await campaign(orchestrator, shape, rate=options.rate, timeout_s=options.timeout, rng=rng)


@asynccontextmanager
async def _deployment(where: str, folder: Path) -> AsyncIterator[tuple[Broker, Settings]]:
    """Give a broker with a deployment behind it: in this process, on private servers, or the one of WARRENER_BROKER."""
    if where == "embedded":
        from fleet.embedded import embedded

        async with embedded(folder / "state", slots=4) as running:
            yield running.broker, running.settings
    elif where == "fleet":
        from fleet.stack import Fleet

        fleet = Fleet(folder / "fleet")
        await asyncio.to_thread(fleet.__enter__)
        try:
            fleet.start("scheduler", "job_submission")
            settings = Settings.read(state=fleet.state, broker=fleet.rabbitmq.url)
            async with _connected(settings) as broker:
                yield broker, settings
        finally:
            await asyncio.to_thread(fleet.__exit__, None, None, None)
    else:
        settings = Settings.read()
        async with _connected(settings) as broker:
            yield broker, settings


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Broker]:
    broker = open_broker(settings.broker, name="mock-orchestrator")
    try:
        yield broker
    finally:
        await broker.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mock_orchestrator",
        description="Submit runs through the broker, follow each to its end, and account for every one.",
        epilog="Ends with one line of JSON; non-zero when the sums do not meet: accepted = succeeded + failed +"
        " cancelled, each as expected, none lost, none doubled (two runs or two ends for one key, or an attempt of a"
        " job that started twice).",
    )
    parser.add_argument("--runs", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--rate", type=float, default=50, help="runs submitted per second (default 50)")
    parser.add_argument("--fail", type=_share, default=0.1, help="share that fails, 0 to 1 (default 0.1)")
    parser.add_argument("--slow", type=_share, default=0.05, help="share that is slow (default 0.05)")
    parser.add_argument("--slow-s", type=float, default=2.0, help="how long the slow ones take, in seconds (default 2)")
    parser.add_argument("--cancel", type=_share, default=0.0, help="share that is cancelled at once (default 0)")
    parser.add_argument("--twice", type=_share, default=0.05, help="share that is submitted twice (default 0.05)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same load")
    parser.add_argument("--timeout", type=float, default=300, help="seconds until what is open counts as lost")
    parser.add_argument("--whole", action="store_true", help="let runs build an environment and stage a file, too")
    parser.add_argument(
        "--ledger", default="", metavar="PATH",
        help="with --on settings: a file that jobs and this program share, where each attempt notes its start",
    )  # fmt: skip
    parser.add_argument(
        "--on", choices=("embedded", "fleet", "settings"), default=_default_place(),
        help="in this process, on private servers started here, or the deployment that WARRENER_BROKER and"
        " WARRENER_KEYS name (the default when WARRENER_BROKER is set; else embedded)",
    )  # fmt: skip
    return parser.parse_args()


def _default_place() -> str:
    return "embedded" if Settings.read().broker.startswith("memory:") else "settings"


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: give a number from 0 to 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
