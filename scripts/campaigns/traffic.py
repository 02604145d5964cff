"""The traffic: runs submitted by both ways, at a rate; the history has when each was asked for and accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from random import Random

from storms.clients import Client, clients
from warrener.ids import RunId

from .deployment import Deployment
from .history import History, now_s
from .load import Request

_PATIENCE_S = 60.0


class Traffic:
    """Submits, and knows what was accepted: `accepted` has the moments when the runs were asked for."""

    def __init__(self, ways: Mapping[str, Client], history: History, rng: Random) -> None:
        self._ways, self._rng, self._history = ways, rng, history
        self.accepted: dict[RunId, float] = {}
        self.gateway_accepted_s = 0.0

    @asynccontextmanager
    async def flowing(self, load: Iterator[Request], *, rate: float) -> AsyncIterator[None]:
        """Submit at a rate as long as the context lasts; at its end, wait until every run is accepted."""
        over = asyncio.Event()
        flow = asyncio.create_task(self._flow(load, rate, over))
        try:
            yield
            over.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await flow
        finally:
            flow.cancel()
            await asyncio.wait([flow])
        if not flow.cancelled():
            flow.result()

    async def _flow(self, load: Iterator[Request], rate: float, over: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            while not over.is_set():
                tasks.create_task(self.one(next(load)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(1 / rate):
                        await over.wait()

    async def one(self, request: Request, way: str = "") -> RunId:
        """Submit one run, perhaps twice, and cancel it if it is one of those; returns when it is accepted."""
        way = way or self._rng.choice(sorted(self._ways))
        client = self._ways[way]
        asked_s = now_s()
        self._history.note("submitted", key=request.run.key, expected=request.expected)
        for _ in range(2 if request.twice else 1):
            run = await client.submit(request.workflow, request.run)
            self.accepted.setdefault(run, asked_s)
            self._history.note("accepted", key=request.run.key, run=run)
        if way == "gateway":
            self.gateway_accepted_s = now_s()
        if request.cancel:
            await asyncio.sleep(self._rng.uniform(0, 0.5))
            await client.cancel(run)
        return run


@asynccontextmanager
async def traffic_to(deployment: Deployment, history: History, rng: Random) -> AsyncIterator[Traffic]:
    """Lend what submits to a deployment."""
    async with clients(deployment.settings, "chaos", rng) as ways:
        yield Traffic(ways, history, rng)
