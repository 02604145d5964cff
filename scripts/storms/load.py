"""The load: runs of several kinds with a seed. What comes out wrong makes a job fail, and with it its run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from warrener.messages import RunRequest

from .ledger import SHELL

Definition = dict[str, Any]

LONG_S = (2.0, 6.0)
"""How long the long jobs take: they outlive kills of their worker, under their runners."""

_SHARES = {"jobs": 5, "long": 2, "calls": 4, "stage": 2, "env": 1}
_FAILS, _CANCELLED, _TWICE = 0.12, 0.1, 0.1


@dataclass(frozen=True, slots=True)
class Request:
    """One run to ask for. `flavour` names its workflow; `expected` are the ends that are right for it."""

    flavour: str
    run: RunRequest
    expected: frozenset[str]
    cancel: bool
    twice: bool


def requests(rng: Random, flavours: tuple[str, ...] = tuple(_SHARES)) -> Iterator[Request]:
    """Yield runs without end; the same seed gives the same ones."""
    shares = [_SHARES[flavour] for flavour in flavours]
    number = 0
    while True:
        (flavour,) = rng.choices(flavours, shares)
        fails, cancel, twice = rng.random() < _FAILS, rng.random() < _CANCELLED, rng.random() < _TWICE
        seconds = round(rng.uniform(*LONG_S), 1) if flavour == "long" else 0
        params = {"n": number, "wanted": 4 * number, "code": 3 if fails else 0, "seconds": seconds}
        end = "failed" if fails else "succeeded"
        yield Request(
            flavour,
            RunRequest(key=f"run-{number:05d}", params=params, priority=rng.choice((2, 4, 6, 9))),
            frozenset({end, "cancelled"} if cancel else {end}),
            cancel,
            twice,
        )
        number += 1


def probe(flavour: str, number: int) -> Request:
    """Return a plain run of a flavour, to see whether it works again."""
    params = {"n": number, "wanted": 4 * number, "code": 0, "seconds": 0}
    run = RunRequest(key=f"probe-{number:05d}", params=params, priority=9)
    return Request(flavour, run, frozenset({"succeeded"}), cancel=False, twice=False)


def workflows(ledger: Path, source: Path) -> dict[str, Definition]:
    """Return the workflow of each flavour; `source` is a file to stage in, which holds the word `rabbits`."""
    note = {"LEDGER": str(ledger)}

    def job(script: str, *needs: str, **env: str) -> dict[str, Any]:
        return {"needs": list(needs), "job": {"shell": SHELL + script, "env": {**note, **env}}}

    def call(n: str, task: str, **more: Any) -> dict[str, Any]:
        args = {"n": n, "mark": "{{ run.id }}/" + task, "ledger": str(ledger)}
        return {"call": {"function": "storm.double", "args": args, **more}}

    end = 'sleep "$LONG"; exit "$CODE"'
    outcome = {"CODE": "{{ params.code }}", "LONG": "{{ params.seconds }}"}
    compared = '[ "$GOT" = "$WANTED" ] || exit 9; ' + end
    sums = {"GOT": "{{ tasks.fourfold.output }}", "WANTED": "{{ params.wanted }}", **outcome}
    jobs = {"first": job("true"), "second": job(end, "first", **outcome)}
    tasks: dict[str, dict[str, Any]] = {
        "jobs": jobs,
        "long": jobs,
        "calls": {
            "double": call("{{ params.n }}", "double"),
            "fourfold": call("{{ tasks.double.output }}", "fourfold", once=True),
            "check": job(compared, **sums),
        },
        "stage": {
            "bring": {"stage": [{"from": f"file:{source}", "to": "in.txt"}]},
            "check": job("grep -q rabbits in.txt || exit 9; " + end, "bring", **outcome),
        },
        "env": {
            "python": {"env": {}},
            "check": job(end, "python", **outcome),
        },
    }
    params = {"n": 0, "wanted": 0, "code": 0, "seconds": {"type": "number", "default": 0}}
    return {
        flavour: {"workflow": f"storm-{flavour}", "params": params, "tasks": some} for flavour, some in tasks.items()
    }
