"""The command `scripts/storm`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from .campaign import storm_on


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="warrener-storm-"))
    folder.chmod(0o755)
    account = asyncio.run(
        storm_on(options.on, folder, kills=options.kills, seed=options.seed, rate=options.rate)
    )  # fmt: skip
    for sentence in account.complaints[:50]:
        print(sentence, file=sys.stderr)
    slowest = sorted(account.kills, key=lambda kill: -1 if kill.start_s is None else -kill.start_s)[:5]
    print("slowest:", ", ".join(map(str, slowest)), file=sys.stderr)
    print(f"seed {options.seed}; logs in {folder}", file=sys.stderr)
    print(json.dumps(account.figures))
    return 1 if account.complaints else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="storm",
        description="Kill -9 the programs of a deployment under load, start them again, and account for every run.",
        epilog="Ends with one line of JSON; non-zero when a run was lost or doubled, ended otherwise than it should, or"
        " an attempt of a job started twice.",
    )
    parser.add_argument("--kills", type=int, default=40, help="how many (default 40)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same load and the same kills")
    parser.add_argument("--rate", type=float, default=4, help="runs submitted per second (default 4)")
    parser.add_argument(
        "--on", choices=("embedded", "fleet"), default="embedded",
        help="`warrener up`, killed as a whole, or one program of each kind over a private RabbitMQ and PostgreSQL",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
