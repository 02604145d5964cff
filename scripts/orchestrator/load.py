"""The load: runs with a seed, some of which fail, are slow, are cancelled, or are submitted twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from warrener.messages import RunRequest


@dataclass(frozen=True, slots=True)
class Shape:
    """What the load looks like; shares are between 0 and 1."""

    runs: int = 200
    fail: float = 0.1
    slow: float = 0.05
    cancel: float = 0.0
    twice: float = 0.05
    slow_s: float = 2.0
    priorities: tuple[int, ...] = (2, 4, 6, 8)
    ledger: str = ""
    whole: bool = False
    """Whether a run also builds an environment and stages a file in, before its jobs."""


@dataclass(frozen=True, slots=True)
class Request:
    """One run to ask for, what to do with it, and what may become of it."""

    run: RunRequest
    expected: frozenset[str]
    cancel: bool
    twice: bool


_START = 'if [ -n "$LEDGER" ]; then echo "$WARRENER_RUN/$WARRENER_TASK/$WARRENER_ATTEMPT" >>"$LEDGER"; fi; '


def workflow(ledger: str, *, whole: bool = False) -> dict[str, Any]:
    """Return the workflow of every run: two jobs, each of which notes in the ledger that it started.

    `whole`: before them an environment without packages, and a file that is staged from it; the jobs run in it.
    """
    note = {"LEDGER": ledger}
    before: dict[str, Any] = {}
    within: dict[str, Any] = {}
    if whole:
        source = "file:{{ tasks.python.output.path }}/pyvenv.cfg"
        before = {"python": {"env": {"requirements": []}}, "file": {"stage": [{"from": source, "to": "data/file"}]}}
        within = {"environment": "python"}
    return {
        "workflow": "mock-orchestrator",
        "params": {"seconds": {"type": "number", "default": 0}, "code": 0},
        "tasks": {
            **before,
            "first": {
                "needs": ["file"] if whole else [],
                "job": {**within, "shell": _START + ("test -s data/file" if whole else "true"), "env": note},
            },
            "second": {
                "needs": ["first"],
                "job": {
                    **within,
                    "shell": _START + 'sleep "$SECONDS_LONG"; exit "$CODE"',
                    "env": {**note, "SECONDS_LONG": "{{ params.seconds }}", "CODE": "{{ params.code }}"},
                },
            },
        },
    }


def requests(shape: Shape, rng: Random) -> Iterator[Request]:
    """Yield the runs of a load; the same seed gives the same load."""
    for number in range(shape.runs):
        fails, slow = rng.random() < shape.fail, rng.random() < shape.slow
        cancel, twice = rng.random() < shape.cancel, rng.random() < shape.twice
        params = {"seconds": shape.slow_s if slow else 0, "code": 3 if fails else 0}
        own_end = "failed" if fails else "succeeded"
        yield Request(
            RunRequest(key=f"run-{number:06d}", params=params, priority=rng.choice(shape.priorities)),
            frozenset({own_end, "cancelled"} if cancel else {own_end}),
            cancel,
            twice,
        )
