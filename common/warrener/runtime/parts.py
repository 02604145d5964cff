"""Waiting for parts that are not there yet, and saying so once."""

from __future__ import annotations

import asyncio

import structlog

from warrener.errors import StoreUnavailable
from warrener.store import Deployment, Store

log = structlog.get_logger(__name__)

_AGAIN_S = 1.0


async def migrated(store: Store, *, shards: int) -> Deployment:
    """Wait until the store is there, and bring its tables to this version."""
    said = False
    while True:
        try:
            deployment = await store.migrate(shards=shards)
        except StoreUnavailable as error:
            if not said:
                log.warning("waiting for the store", reason=str(error))
                said = True
            await asyncio.sleep(_AGAIN_S)
        else:
            if said:
                log.info("the store is there")
            return deployment
