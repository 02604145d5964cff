"""What a running program takes over when the deployment's configuration changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from warrener.errors import InvalidSettings
from warrener.gossips import open_gossip
from warrener.gossips.configured import Follower
from warrener.gossips.serf import SerfGossip
from warrener.runtime.logs import LEVELS, set_level
from warrener.settings import Settings
from warrener.signing import read_verifier

log = structlog.get_logger("warrener.serve")


@asynccontextmanager
async def following_configuration(settings: Settings) -> AsyncIterator[None]:
    """Follow the configuration, where there is an agent to hear it and a key to prove it."""
    gossip = open_gossip(settings.gossip)
    try:
        try:
            verifier = read_verifier(settings.keys_folder)
        except InvalidSettings as error:
            log.debug("no configuration is followed", reason=str(error))
            verifier = None
        if verifier is None or not isinstance(gossip, SerfGossip):
            yield
            return
        following = asyncio.create_task(Follower(gossip, verifier, lambda values: take_over(settings, values)).run())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait([following])
            if not following.cancelled() and (broke := following.exception()) is not None:
                log.error("following the configuration broke", exc_info=broke)
    finally:
        await gossip.close()


def take_over(settings: Settings, values: Mapping[str, str]) -> None:
    """Live by these values; what is missing is again as the settings say."""
    level = values.get("log", settings.log)
    if level in LEVELS:
        set_level(level)
        log.warning("took over the configuration", log=level)
    for name in values.keys() - {"log"}:  # of a newer version of the deployment
        log.warning("this program cannot change a setting while it runs; upgrade and restart it", setting=name)
