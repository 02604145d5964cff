"""What all workers' programs have in common: settings become a `WorkerService` that runs until it is cancelled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from random import SystemRandom

import structlog

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.clock import SystemClock
from warrener.errors import GossipUnavailable
from warrener.gossip import Gossip
from warrener.gossips import open_gossip
from warrener.ids import WorkerName
from warrener.messages import Kind
from warrener.performer import Performer
from warrener.runtime.watched import watched
from warrener.settings import Settings
from warrener.signing import read_verifier
from warrener.site import Site
from warrener.worker.beacon import Beacon
from warrener.worker.one_life import one_life
from warrener.worker.service import WorkerService

LAST_WORDS_S = 4.0
"""What is left of the stop's time for reports, after the work's own grace."""

log = structlog.get_logger("warrener.worker")


def worker_name(settings: Settings, kind: Kind, apps: Sequence[str] = ()) -> WorkerName:
    """Return the name of the settings, or `<kind>-<host>` (calls: `call-<app>-<host>`)."""
    parts = (str(kind), *apps, settings.host)
    return WorkerName(settings.worker or "-".join(parts)[:64].strip("-"))


def site_of(settings: Settings) -> Site:
    """Return the site of the settings."""
    return Site(settings.site, settings.site_folder)


async def run_worker(
    settings: Settings, broker: Broker | None, performer: Performer, *, apps: Sequence[str] = ()
) -> None:
    """Run a worker until cancelled, on the broker given or on that of the settings."""
    name = worker_name(settings, performer.kind, apps)
    verifier = read_verifier(settings.keys_folder)
    gossip = open_gossip(settings.gossip)
    connection = broker or open_broker(settings.broker, name=name)
    try:
        service = WorkerService(
            performer, name=name, kind=performer.kind, apps=apps, site=site_of(settings), slots=settings.slots,
            broker=connection,
            verifier=verifier, clock=SystemClock(), rng=SystemRandom(), host=settings.host,
            member=await _member(gossip), lease_s=settings.lease.total_seconds(),
            grace_s=max(0.0, settings.stop_timeout.total_seconds() - LAST_WORDS_S), load=host_load,
        )  # fmt: skip
        beacon = asyncio.create_task(Beacon(gossip, service.who, service.status).run())
        what = f"worker of {' '.join(apps) or performer.kind}"
        try:
            async with (
                watched(settings, what, name, broker=connection, gossip=gossip),
                one_life(site_of(settings).spool(name), name),
            ):
                await service.run()
        finally:
            beacon.cancel()
            await asyncio.wait([beacon])
    finally:
        await gossip.close()
        if broker is None:
            await connection.close()


def host_load() -> float:
    """Return the load of this host per core, averaged over a minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


async def _member(gossip: Gossip) -> str | None:
    try:
        return await gossip.own_name()
    except GossipUnavailable as error:
        log.warning("no gossip: a failure of this host will be known by its silence only", error=str(error))
        return None
