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
from warrener.messages import Attributes, Kind
from warrener.performer import Performer
from warrener.runtime.watched import watched
from warrener.settings import Settings
from warrener.signing import read_verifier
from warrener.site import Site
from warrener.worker.attributes import attributes_of_host
from warrener.worker.beacon import Beacon
from warrener.worker.host import look_at_host
from warrener.worker.leaving import drained_by_signal
from warrener.worker.load import Thresholds
from warrener.worker.one_life import one_life
from warrener.worker.service import WorkerService
from warrener.worker.several import Several

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
    settings: Settings,
    broker: Broker | None,
    performer: Performer,
    *,
    apps: Sequence[str] = (),
    several: Several | None = None,
) -> None:
    """Run a worker until cancelled, on the broker given or on that of the settings.

    One of `several` lives on their common budget instead of the settings' slots.
    """
    name = worker_name(settings, performer.kind, apps)
    verifier = read_verifier(settings.keys_folder)
    gossip = open_gossip(settings.gossip)
    lane = f"call.{apps[0]}" if apps else str(performer.kind)
    slots, most_slots = several.slots(lane) if several else (settings.slots, settings.slots)
    connection = broker or open_broker(settings.broker, name=name)
    try:
        service = WorkerService(
            performer, name=name, kind=performer.kind, apps=apps, site=site_of(settings), slots=slots,
            most_slots=most_slots, broker=connection,
            verifier=verifier, clock=SystemClock(), rng=SystemRandom(), host=settings.host,
            member=await _member(gossip), lease_s=settings.lease.total_seconds(),
            grace_s=max(0.0, settings.stop_timeout.total_seconds() - LAST_WORDS_S), load=host_load,
            attributes=_attributes(settings, performer.kind),
            look_at_host=look_at_host, thresholds=_thresholds(settings),
        )  # fmt: skip

        def beside(member: str | None) -> None:
            service.member = member

        beacon = asyncio.create_task(Beacon(gossip, name, service.tag, beside).run())
        what = f"worker of {' '.join(apps) or performer.kind}"
        try:
            async with (
                watched(settings, what, name, broker=connection, gossip=gossip),
                one_life(site_of(settings).spool(name), name),
            ):
                if several is not None:
                    several.join(lane, service)
                with drained_by_signal(service.drain):
                    await service.run()
        finally:
            beacon.cancel()
            await asyncio.wait([beacon])
    finally:
        await gossip.close()
        if broker is None:
            await connection.close()


def _thresholds(settings: Settings) -> Thresholds | None:
    if not settings.honour_load:
        return None
    return Thresholds(settings.load_from, settings.load_full, settings.memory_from, settings.memory_full)


def host_load() -> float:
    """Return the load of this host per core, averaged over a minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _attributes(settings: Settings, kind: Kind) -> Attributes:
    targets = ("local",) if kind is Kind.JOB else ()
    return attributes_of_host(software=settings.software, labels=settings.labels, targets=targets)


async def _member(gossip: Gossip) -> str | None:
    try:
        return await gossip.own_name()
    except GossipUnavailable as error:
        log.warning("no gossip: a failure of this host will be known by its silence only", error=str(error))
        return None
