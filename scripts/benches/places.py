"""Where a benchmark runs: all in this process, or separate processes over RabbitMQ and PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fleet.embedded import embedded
from fleet.stack import Fleet
from orchestrator.client import Orchestrator
from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.ids import RunId
from warrener.messages import RunRequest
from warrener.settings import Settings
from warrener.signing import read_submit_key
from warrener.store import Store, TaskRow
from warrener.stores import open_store
from warrener.worker import Worker

from .app import worker
from .processes import cpu_s, cpu_s_of_servers, rss_mib

SLOTS = 100


@dataclass(frozen=True, slots=True)
class App:
    """What serves the calls: a worker, the module that runs it as a program, and a call that tries it out."""

    worker: Worker
    module: str
    function: str
    args: Mapping[str, Any]


BENCH = App(worker, "benches.app", "bench.noop", {})


@dataclass(frozen=True, slots=True)
class Place:
    """A running deployment with an app, and a client of it.

    `pids`: its processes, without servers. `fleet`, if they are separate, can start further ones.
    """

    client: Orchestrator
    store: Store
    pids: list[int]
    fleet: Fleet | None = None

    def cpu_s(self) -> float:
        """Return the CPU time that all processes have used, with this one."""
        return sum(cpu_s(pid) for pid in {os.getpid(), *self.pids})

    def cpu_by(self) -> dict[str, float]:
        """Return the CPU time that each program has used, and each server, under its name."""
        by_name = {"client": cpu_s(os.getpid()), "broker": 0.0, "database": 0.0}
        if self.fleet is not None:
            by_name |= {"scheduler": cpu_s(self.fleet.pid("scheduler")), "worker": cpu_s(self.fleet.pid("bench"))}
        for server, seconds in cpu_s_of_servers():
            by_name[server] += seconds
        return by_name

    def rss_mib(self) -> float:
        """Return the resident memory of all processes, without this one where it is only the client."""
        return sum(rss_mib(pid) for pid in self.pids or [os.getpid()])

    async def tasks(self, run: RunId) -> Sequence[TaskRow]:
        return await self.store.read(lambda tx: tx.tasks.of_run(run))

    async def run(self, workflow: dict[str, object], key: str) -> RunId:
        """Submit one run and wait for its end."""
        (answer,) = await self.client.submit(workflow, [RunRequest(key=key)])
        if answer.run is None:
            raise SystemExit("\n".join(answer.problems))
        await self.ended({answer.run})
        return answer.run

    async def ended(self, runs: set[RunId]) -> None:
        """Wait until these runs have succeeded."""
        open_runs = set(runs)
        while open_runs:
            event = await self.client.heard.get()
            if event.state == "failed":
                raise SystemExit(f"the run {event.run} failed: a benchmark measures what works")
            if event.state == "succeeded":
                open_runs.discard(event.run)


@asynccontextmanager
async def place(where: str, folder: Path, *, slots: int = SLOTS, app: App = BENCH) -> AsyncIterator[Place]:
    """Bring a deployment up, with one worker of the app, and wait until a task has run on it."""
    if where == "embedded":
        async with (
            embedded(folder / "state", slots=slots, apps=[app.worker]) as running,
            _client(running.broker, running.settings, [], app) as client,
        ):
            yield client
        return
    fleet = Fleet(folder, settings={"WARRENER_SLOTS": str(slots)})
    await asyncio.to_thread(fleet.__enter__)
    try:
        async with on_fleet(fleet, fleet.rabbitmq.url, fleet.store_url, app) as client:
            yield client
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)


@asynccontextmanager
async def on_fleet(fleet: Fleet, broker_url: str, store_url: str, app: App = BENCH) -> AsyncIterator[Place]:
    """Run the scheduler and the worker `bench` on servers that run already, and stop them."""
    given = {"WARRENER_BROKER": broker_url, "WARRENER_STORE": store_url}
    try:
        fleet.run("scheduler", [sys.executable, "-m", "warrener_services.scheduler"], **given)
        worker = [sys.executable, "-m", app.module]
        fleet.run("bench", worker, PYTHONPATH=str(Path(__file__).parent.parent), **given)
        settings = Settings.read(state=fleet.state, broker=broker_url, store=store_url)
        broker = open_broker(settings.broker, name="bench")
        try:
            pids = [fleet.pid("scheduler"), fleet.pid("bench")]
            async with _client(broker, settings, pids, app, fleet) as client:
                yield client
        finally:
            await broker.close()
    finally:
        await asyncio.to_thread(fleet.stop, "bench")
        await asyncio.to_thread(fleet.stop, "scheduler")


@asynccontextmanager
async def _client(
    broker: Broker, settings: Settings, pids: list[int], app: App, fleet: Fleet | None = None
) -> AsyncIterator[Place]:
    store = open_store(settings.store_url)
    async with Orchestrator(broker, read_submit_key(settings.keys_folder), "bench", Random()) as client:
        found = Place(client, store, pids, fleet)
        first = {"call": {"function": app.function, "args": dict(app.args)}}
        await found.run({"workflow": "warm-up", "tasks": {"first": first}}, "warm-up")
        yield found
    await store.close()


def calls(function: str, number: int) -> dict[str, object]:
    """Return a workflow of this many calls that need nothing of one another."""
    section = {"function": f"bench.{function}", "args": {}}
    return {"workflow": f"{function}-{number}", "tasks": {f"t{n}": {"call": section} for n in range(number)}}
