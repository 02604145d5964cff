"""The program `gossip`: wiring only."""

from __future__ import annotations

import asyncio
import sys
from random import SystemRandom

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.gossips import open_gossip
from warrener.ids import new_token
from warrener.runtime.serve import serve_program
from warrener.runtime.watched import watched
from warrener.settings import Settings

from .opening import desk_of
from .service import GossipService
from .telling import tell_the_pool


async def run(settings: Settings, broker: Broker | None = None) -> None:
    """Run until cancelled."""
    rng = SystemRandom()
    who = f"gossip-{settings.host}-{new_token(rng)}"
    gossip = open_gossip(settings.gossip)
    try:
        link = broker or open_broker(settings.broker, name=who)
        try:
            beside = watched(
                settings, "gossip", f"gossip-{settings.host}", broker=link, gossip=gossip, lives_of_gossip=True
            )  # fmt: skip
            async with beside, desk_of(settings, broker=link, who=who, rng=rng) as ear, asyncio.TaskGroup() as tasks:
                service = GossipService(gossip=gossip, broker=link, who=who, rng=rng, ear=ear)
                tasks.create_task(tell_the_pool(settings, gossip, service))
                tasks.create_task(service.run())
        finally:
            if link is not broker:
                await link.close()
    finally:
        await gossip.close()


if __name__ == "__main__":
    sys.exit(serve_program(run, name="gossip"))
