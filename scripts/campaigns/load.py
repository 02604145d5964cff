"""What is submitted: runs of several kinds with a seed, each of which can be told from a wrong one by its results."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from warrener.messages import RunRequest

from .history import SHELL_START

Definition = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One run to ask for; `expected` are the ends that are right for it."""

    workflow: Definition
    run: RunRequest
    expected: tuple[str, ...]
    cancel: bool = False
    twice: bool = False


class Load:
    """Makes requests. The same seed gives the same ones, whatever becomes of them."""

    def __init__(self, history: Path, rng: Random) -> None:
        self._history, self._rng = str(history), rng
        self._number = 0

    def mixed(self) -> Iterator[Request]:
        """Yield runs without end: short jobs and calls, some that fail, are cancelled, or are submitted twice."""
        rng = self._rng
        while True:
            flavour = rng.choices(("jobs", "calls"), (2, 3))[0]
            fails, cancel, twice = rng.random() < 0.1, rng.random() < 0.08, rng.random() < 0.1
            seconds = round(rng.uniform(0.5, 3), 1) if rng.random() < 0.15 else 0
            request = self.jobs(seconds, fails=fails) if flavour == "jobs" else self.calls(seconds)
            end = request.expected[0]
            yield Request(request.workflow, request.run, (end, "cancelled") if cancel else (end,), cancel, twice)

    def hindered(self) -> Iterator[Request]:
        """Yield short jobs and calls that may fail for want of room."""
        for request in self.mixed():
            yield replace(request, expected=(*request.expected, "failed"))

    def leased(self, lease_s: float | None, shortest_s: float, longest_s: float) -> Iterator[Request]:
        """Yield long jobs and calls without end, under this lease (None: the deployment's)."""
        while True:
            yield self.long(
                round(self._rng.uniform(shortest_s, longest_s), 1), lease_s=lease_s, call=self._rng.random() < 0.5
            )

    def jobs(self, seconds: float = 0, *, fails: bool = False) -> Request:
        """Return a run of two jobs, of which the second takes its time."""
        params = {"seconds": seconds, "code": 3 if fails else 0}
        return self._request(_jobs(self._history), params, "failed" if fails else "succeeded")

    def calls(self, seconds: float = 0) -> Request:
        """Return a run of two calls, the second of which must start once only."""
        return self._request(_calls(self._history), {"seconds": seconds}, "succeeded")

    def long(self, seconds: float, *, lease_s: float | None = None, call: bool = False) -> Request:
        """Return a run of one job or call that takes long, under a lease, and of one that follows it."""
        return self._request(_long(self._history, lease_s, call), {"seconds": seconds}, "succeeded")

    def many(self, tasks: int, *, gate: Path | None = None) -> Request:
        """Return a run of so many calls that note nothing; their results tell. They wait until the gate is there."""
        return self._request(_many(tasks, str(gate or "")), {}, "succeeded")

    def _request(self, workflow: Definition, params: dict[str, Any], end: str) -> Request:
        self._number += 1
        run = RunRequest(
            key=f"run-{self._number:06d}", params={"n": self._number, **params}, priority=self._rng.choice((2, 4, 6, 9))
        )
        return Request(workflow, run, (end,))


_PARAMS = {"n": 0, "code": 0, "seconds": {"type": "number", "default": 0}}
_RESULT = 'echo $WARRENER_ATTEMPT >"$WARRENER_OUTPUT"; note end; '
"""A job's output is the number of its attempt: what the store keeps must be that of the attempt it thinks."""


_FIRST_IS_LONG = '[ "$WARRENER_ATTEMPT" -gt 1 ] || sleep "$LONG"; '
"""Only the first attempt takes long: whether a second one comes is what matters, not its length."""


@cache
def _jobs(history: str) -> Definition:
    def job(script: str, **more: Any) -> dict[str, Any]:
        env = {"HISTORY": history, "LONG": "{{ params.seconds }}", "CODE": "{{ params.code }}"}
        return {"job": {"shell": SHELL_START + script, "env": env}, **more}

    tasks = {
        "first": job(_RESULT),
        "second": job('[ "$LONG" = 0 ] || sleep "$LONG"; ' + _RESULT + 'exit "$CODE"', needs=["first"]),
    }
    return {"workflow": "chaos-jobs", "params": _PARAMS, "tasks": tasks}


@cache
def _calls(history: str) -> Definition:
    tasks = {
        "double": {"call": _call("{{ params.n }}", "double", history)},
        "fourfold": {"call": _call("{{ tasks.double.output }}", "fourfold", history) | {"once": True}},
    }
    return {"workflow": "chaos-calls", "params": _PARAMS, "tasks": tasks}


def _call(n: str, task: str, history: str) -> dict[str, Any]:
    args = {"n": n, "run": "{{ run.id }}", "task": task, "history": history, "seconds": "{{ params.seconds }}"}
    return {"function": "chaos.double", "args": args}


@cache
def _long(history: str, lease_s: float | None, call: bool) -> Definition:  # noqa: FBT001 - cached, so by position
    env = {"HISTORY": history, "LONG": "{{ params.seconds }}"}
    long: dict[str, Any] = {"job": {"shell": SHELL_START + _FIRST_IS_LONG + _RESULT, "env": env}}
    if call:
        long = {"call": _call("{{ params.n }}", "long", history) | {"once": True}}
    if lease_s is not None:
        long["lease"] = f"{lease_s:g}s"
    after = {"needs": ["long"], "call": {"function": "chaos.plain", "args": {"n": 1}}}
    return {"workflow": "chaos-long", "params": _PARAMS, "tasks": {"long": long, "after": after}}


@cache
def _many(tasks: int, gate: str) -> Definition:
    calls: Definition = {f"t{n}": {"call": {"function": "chaos.plain", "args": {"n": n}}} for n in range(tasks)}
    if gate:
        shell = f"until [ -e {shlex.quote(gate)} ]; do sleep 0.1; done; echo $WARRENER_ATTEMPT >$WARRENER_OUTPUT"
        calls = {"gate": {"job": {"shell": shell}}} | {
            name: {**call, "needs": ["gate"]} for name, call in calls.items()
        }
    return {"workflow": "chaos-many", "params": _PARAMS, "tasks": calls}
