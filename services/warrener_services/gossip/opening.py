"""Opening an alert desk as the settings say; a gossip program without a store has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import structlog

from warrener.broker import Broker
from warrener.clock import SystemClock
from warrener.settings import Settings
from warrener.stores import open_store

from .desk import AlertDesk, Limits
from .ear import Ear
from .mailing import MailServers
from .posting import Webhooks
from .routes import read_routes
from .trouble import Troubles, parts_seen_from

log = structlog.get_logger(__name__)


@asynccontextmanager
async def desk_of(settings: Settings, *, broker: Broker, who: str, rng: Random) -> AsyncIterator[Ear | None]:
    """Lend the ear of a desk that works while the context lasts. Raises InvalidSettings."""
    routes = read_routes(settings)
    servers, webhooks = MailServers(settings), Webhooks(settings, routes.webhooks)
    embedded = settings.broker.startswith("memory:")
    if not settings.store and not embedded:
        log.warning(
            "this gossip program tells nobody of alerts: it has no database (WARRENER_STORE), and passes gossip on only"
        )
        yield None
        return
    store = open_store(settings.store_url)
    try:
        desk = AlertDesk(
            store=store, broker=broker, clock=SystemClock(), rng=rng, who=who, routes=routes, servers=servers,
            webhooks=webhooks, troubles=Troubles(parts_seen_from(settings.host)),
            limits=Limits(backlog=settings.alert_backlog, stuck=settings.alert_stuck, shards=settings.shards),
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(desk.run())
            try:
                yield desk
            finally:
                running.cancel()
    finally:
        await store.close()
