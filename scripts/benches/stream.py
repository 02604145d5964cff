"""Runs submitted at a pace, whatever becomes of them: an open loop, which shows delays that a closed one hides."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable

from warrener.messages import RunRequest

from .places import Place
from .starts import Starts

_EVERY_S = 0.05


class Stream:
    """Submits runs of `held` calls, which note their start and then wait; each knows when it was asked for."""

    def __init__(self, place: Place, starts: Starts, name: str, *, a_run: int) -> None:
        self._place, self._starts, self._name, self._a_run = place, starts, name, a_run
        args = {name: f"{{{{ params.{name} }}}}" for name in ("asked_ns", "starts", "seconds")}
        section = {"function": "bench.held", "args": args}
        self._workflow = {
            "workflow": name,
            "params": {
                "asked_ns": {"type": "integer"}, "starts": {"type": "string"}, "seconds": {"type": "number"},
            },
            "tasks": {f"t{n}": {"call": section} for n in range(a_run)},
        }  # fmt: skip
        self._numbers = itertools.count()

    async def ask(self, seconds: float) -> None:
        """Submit one run now, of calls that take so long; returns when it is accepted."""
        params = {"asked_ns": time.monotonic_ns(), "starts": str(self._starts.path), "seconds": seconds}
        request = RunRequest(key=f"{self._name}-{next(self._numbers)}", params=params)
        (answer,) = await self._place.client.submit(self._workflow, [request])
        if answer.run is None:
            raise SystemExit("\n".join(answer.problems))

    async def at(self, per_second: float, seconds: float, lasting_s: Callable[[], float]) -> int:
        """Submit so many calls per second; return their number when the last run is accepted."""
        begun, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while (elapsed := time.perf_counter() - begun) < seconds:
                while sent < per_second * elapsed:
                    group.create_task(self.ask(lasting_s()))
                    sent += self._a_run
                await asyncio.sleep(_EVERY_S)
        return sent
