"""The measure `flood`: more submissions than anybody can take, and what that costs in memory."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from warrener.async_client import AsyncClient
from warrener.errors import GatewayUnavailable, Overloaded, QueueFull
from warrener.messages import RunRequest
from warrener.views import RunAsked

from .places import Place

SECONDS = 30.0
"""How long each way in is flooded."""
RUNS = 20
"""Runs of a submission."""
_RUDE_RUNS = 1_000
_SUBMITTING = 200
"""Submissions that are under way at a time: so many that the gateway refuses some."""
_APP = "nobody"
_LOOK_S = 0.25

Submit = Callable[[str], Awaitable[int]]
"""Submits runs under keys that begin so; returns how many were accepted."""


async def flood(place: Place, tasks: int) -> dict[str, float]:
    """Submissions of 20 runs as fast as they are taken, over AMQP and (with --on fleet) the gateway; peak memory.

    Then large ones over AMQP by a client that waits for no answer, which fills the queue until the broker refuses;
    `accepted` then says what the broker took, not what is committed.
    Nobody serves the app of their tasks: what is measured is what accepting costs, and what a backlog costs.
    """
    workflow = {"workflow": "flood", "tasks": {"t": {"call": {"function": f"{_APP}.noop", "args": {}}}}}

    async def by_amqp(key: str) -> int:
        answers = await place.client.submit(workflow, [RunRequest(key=f"{key}-{n}") for n in range(RUNS)])
        return sum(answer.run is not None for answer in answers)

    memory = Memory(place, "scheduler", "bench")
    figures = await _flooded("amqp", by_amqp, tasks, memory)
    figures["amqp_refused"] = place.client.refused
    if place.fleet is not None:
        place.fleet.start("gateway")
        memory = Memory(place, "scheduler", "bench", "gateway")
        refused = itertools.count()
        address = f"unix:{place.fleet.state / 'gateway.sock'}"
        async with (
            AsyncClient(address, token="", on_busy=lambda *_: next(refused)) as one,
            AsyncClient(address, token="", on_busy=lambda *_: next(refused)) as other,  # a client has 100 connections
        ):
            await _until_there(one)
            clients = itertools.cycle([one, other])

            async def by_gateway(key: str) -> int:
                with suppress(Overloaded):
                    asked = [RunAsked(key=f"{key}-{n}") for n in range(RUNS)]
                    return len(await next(clients).submit_many(workflow, asked, owner="bench"))
                return 0

            figures |= await _flooded("gateway", by_gateway, tasks, memory)
            figures["gateway_refused"] = next(refused)
    rude = itertools.count()

    async def by_a_rude_client(key: str) -> int:
        try:
            await place.client.throw(workflow, [RunRequest(key=f"{key}-{n}") for n in range(_RUDE_RUNS)])
        except QueueFull:
            next(rude)
            return 0
        return _RUDE_RUNS

    figures |= await _flooded("rude", by_a_rude_client, tasks * RUNS, memory)
    figures["rude_refused"] = next(rude)
    return figures


async def _flooded(way: str, submit: Submit, most: int, memory: Memory) -> dict[str, float]:
    """Submit for a while, or so many; look at the memory in the middle and in the end."""
    accepted = 0
    numbers = itertools.count()
    begun_s = time.monotonic()

    async def go_on() -> None:
        nonlocal accepted
        while time.monotonic() - begun_s < SECONDS and (number := next(numbers)) * RUNS < most:
            runs = await submit(f"flood-{way}-{number}")
            accepted += runs

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(memory.watch())
        async with asyncio.TaskGroup() as submitting:
            for _ in range(_SUBMITTING):
                submitting.create_task(go_on())
        watching.cancel()
    seconds = time.monotonic() - begun_s
    return {
        f"{way}_accepted": accepted,
        f"{way}_accepted_per_s": round(accepted / seconds),
        **{f"{way}_{name}": value for name, value in memory.figures().items()},
    }


class Memory:
    """The resident memory of the processes of a deployment, and of its broker."""

    def __init__(self, place: Place, *programs: str) -> None:
        self._pids = _pids(place, programs)
        self._seen: dict[str, list[float]] = {name: [] for name in self._pids}

    async def watch(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            for name, pid in self._pids.items():
                self._seen[name].append(_rss_mib(pid))
            await asyncio.sleep(_LOOK_S)

    def figures(self) -> dict[str, float]:
        """Return the peak of each process, and how much the second half of the time added to it."""
        figures: dict[str, float] = {}
        for name, seen in self._seen.items():
            half = max(seen[: max(1, len(seen) // 2)])
            figures[f"{name}_peak_mib"] = round(max(seen))
            figures[f"{name}_second_half_mib"] = round(max(seen) - half, 1)
            seen.clear()
        return figures


def _pids(place: Place, programs: Iterable[str]) -> dict[str, int]:
    if place.fleet is None:
        return {"process": os.getpid()}
    return {name: place.fleet.pid(name) for name in programs} | {"rabbitmq": place.fleet.rabbitmq.pid}


def _rss_mib(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(_rss_mib(int(child)) for child in children)


async def _until_there(client: AsyncClient) -> None:
    while True:
        with suppress(GatewayUnavailable):
            if (await client.health()).store:
                return
        await asyncio.sleep(0.1)
