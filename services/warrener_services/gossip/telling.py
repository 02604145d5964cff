"""What the program tells the pool: where the deployment is, and what is configured; orders.key proves both."""

from __future__ import annotations

import asyncio

import structlog

from warrener.errors import StoreUnavailable
from warrener.gossip import Gossip
from warrener.gossips.configured import Configuration, tell
from warrener.gossips.naming import answer_for_ever, deployment_of, signed
from warrener.gossips.serf import SerfGossip
from warrener.runtime.parts import migrated
from warrener.settings import Settings
from warrener.signing import OrderSigner, read_signer
from warrener.store import Store
from warrener.stores import open_store

from .service import GossipService

log = structlog.get_logger(__name__)


async def tell_the_pool(settings: Settings, gossip: Gossip, service: GossipService) -> None:
    """Tell and answer until cancelled; returns at once where there is no agent or no proof."""
    if not isinstance(gossip, SerfGossip):
        return
    if not (settings.keys_folder / "orders.key").exists():
        log.info("no orders.key here: this program tells neither where the deployment is nor what is configured")
        return
    signer = read_signer(settings.keys_folder)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_for_ever(gossip, lambda: signed(deployment_of(settings, service.addresses()), signer)))
        if settings.store:
            tasks.create_task(_tell_configuration(settings, gossip, signer))


async def _tell_configuration(settings: Settings, gossip: SerfGossip, signer: OrderSigner) -> None:
    store = open_store(settings.store)
    try:
        await migrated(store, shards=settings.shards)
        reader = _Reader(store)
        await tell(gossip, reader.read, signer)
    finally:
        await store.close()


class _Reader:
    """Reads the table; what was read last stands in while the store is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = Configuration(version=0)

    async def read(self) -> Configuration:
        try:
            rows = await self._store.read(lambda tx: tx.configuration.all())
        except StoreUnavailable as error:
            log.debug("the configuration cannot be read", reason=str(error))
        else:
            values = {row.name: row.value for row in rows if row.value is not None}
            self._last = Configuration(version=max((row.version for row in rows), default=0), values=values)
        return self._last
