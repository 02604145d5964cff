"""The embedded default in this process: every program on the in-process broker and SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.settings import Settings
from warrener.signing import make_keys
from warrener.worker.functions import Worker
from warrener_services.data_staging.__main__ import run as data_staging
from warrener_services.env_setup.__main__ import run as env_setup
from warrener_services.job_submission.__main__ import run as job_submission
from warrener_services.scheduler.__main__ import run as scheduler


@dataclass(frozen=True, slots=True)
class Embedded:
    """What runs: its broker, and the settings of whoever wants to take part."""

    broker: Broker
    settings: Settings


@asynccontextmanager
async def embedded(state: Path, *, slots: int, apps: Sequence[Worker] = ()) -> AsyncIterator[Embedded]:
    """Run scheduler and workers, and the workers of these apps, until the context ends."""
    settings = Settings.read(state=state, slots=slots, broker="memory://", store="", gossip="static://")
    state.mkdir(parents=True, exist_ok=True)
    make_keys(settings.keys_folder)
    broker = open_broker(settings.broker, name="embedded")
    programs = [run(settings, broker) for run in (scheduler, env_setup, data_staging, job_submission)]
    programs += [app.serve(settings, broker) for app in apps]
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(program) for program in programs]
            yield Embedded(broker, settings)
            for task in running:
                task.cancel()
    finally:
        await broker.close()
