"""The command `scripts/chaos`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from fleet.hosts import isolated
from fleet.process import FleetError
from warrener.runtime.logs import configure_logs

from .campaign import Options, carry_out
from .check import Verdict, check
from .plans import PLANS


def main() -> int:
    options = _options()
    if options.campaign == "check":
        return _say(check(options.file), options.file)
    try:
        isolated("campaigns")
    except FleetError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    return _campaign(options)


def _campaign(options: argparse.Namespace) -> int:
    configure_logs("error")
    folder = options.folder or Path(tempfile.mkdtemp(prefix=f"warrener-chaos-{options.campaign}-"))
    print(f"chaos {options.campaign}, seed {options.seed}; history and logs in {folder}", file=sys.stderr, flush=True)
    told = Options(
        seed=options.seed, trials=options.trials, short=options.short, minutes=options.minutes,
        lease_s=options.lease, serf=not options.without_serf,
    )  # fmt: skip
    try:
        verdict = asyncio.run(carry_out(options.campaign, PLANS[options.campaign], folder, told))
    except KeyboardInterrupt:
        print(f"chaos: stopped; nothing was audited. The history so far is in {folder}", file=sys.stderr)
        return 130
    except FleetError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    for server in ("rabbitmq", "postgresql"):
        shutil.rmtree(folder / server, ignore_errors=True)  # large, and all that counts is in the history
    return _say(verdict, folder / "history.jsonl")


def _say(verdict: Verdict, path: Path) -> int:
    for kind, sentences in verdict.found.items():
        for sentence in sentences[:30]:
            print(f"{kind}: {sentence}", file=sys.stderr)
        if len(sentences) > 30:
            print(f"{kind}: and {len(sentences) - 30} more; see {path}", file=sys.stderr)
    print(verdict.table(), file=sys.stderr)
    print(json.dumps(verdict.line()), flush=True)
    return 1 if verdict.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chaos",
        description="Break a fleet on several hosts (network namespaces) on purpose, under load, and check that it"
        " keeps its promises. Needs root.",
        epilog="Ends with a table (on standard error) and one line of JSON; non-zero when anything was lost, doubled,"
        " stuck, unexpected or late. The same seed gives the same load and the same faults; when they hit depends on"
        " the machine.",
    )
    campaigns = parser.add_subparsers(dest="campaign", required=True, metavar="campaign")
    for name, plan in PLANS.items():
        one = campaigns.add_parser(name, help=f"{plan.what} (about {plan.minutes:g} min)", description=plan.what)
        one.add_argument("--trials", type=int, help="how many; each campaign has its own default")
        one.add_argument("--seed", type=int, default=1, help="of load and faults (default 1)")
        one.add_argument("--short", action="store_true", help="a few trials, to see that all of it works")
        one.add_argument(
            "--folder", type=Path, help="for history and logs; default: a new one below the temporary folder"
        )
        one.add_argument("--minutes", type=float, default=5.0, help="how long `mixed` goes on (default 5)")
        one.add_argument("--lease", type=float, help="seconds of the leases in `freezes` (default 3)")
        one.add_argument("--without-serf", action="store_true", help="no gossip at all: leases alone tell")
    checked = campaigns.add_parser("check", help="read a history and judge it again")
    checked.add_argument("file", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
