"""The program `scheduler`: wiring only."""

from __future__ import annotations

import sys
from random import SystemRandom

from warrener.archive import Archive
from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.clock import SystemClock
from warrener.runtime.parts import migrated
from warrener.runtime.serve import serve_program
from warrener.runtime.watched import watched
from warrener.settings import Settings
from warrener.signing import read_keys
from warrener.stores import open_store

from .retiring import Keeping
from .service import SchedulerService
from .tick import Rules


async def run(settings: Settings, broker: Broker | None = None) -> None:
    """Run until cancelled."""
    name = settings.worker or f"scheduler-{settings.host}"
    keys = read_keys(settings.keys_folder)
    store = open_store(settings.store_url)
    link = broker or open_broker(settings.broker, name=name)
    try:
        async with watched(settings, "scheduler", name, broker=link, store=store):
            deployment = await migrated(store, shards=settings.shards)
            rules = Rules(keys, deployment.shards, settings.lease, settings.order_timeout, SystemRandom())
            archive = Archive(settings.archive_folder, name) if settings.old_runs == "archive" else None
            await SchedulerService(
                store=store,
                broker=link,
                rules=rules,
                clock=SystemClock(),
                name=name,
                shard_lease=settings.shard_lease,
                orders_lost=settings.broker.startswith("memory:"),
                keeping=Keeping(settings.keep_runs, archive, settings.keep_evidence),
            ).run()
    finally:
        if link is not broker:
            await link.close()
        await store.close()


if __name__ == "__main__":
    sys.exit(serve_program(run, name="scheduler"))
