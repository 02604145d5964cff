"""The program `gossip`: wiring only."""

from __future__ import annotations

import asyncio
import sys
from random import SystemRandom

import structlog

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.gossips import open_gossip
from warrener.gossips.naming import answer_for_ever, deployment_of, signed
from warrener.gossips.serf import SerfGossip
from warrener.ids import new_token
from warrener.runtime.serve import serve_program
from warrener.runtime.watched import watched
from warrener.settings import Settings
from warrener.signing import OrderSigner, read_signer

from .opening import desk_of
from .service import GossipService

log = structlog.get_logger(__name__)


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
                if isinstance(gossip, SerfGossip) and (signer := _signer(settings)) is not None:
                    tasks.create_task(
                        answer_for_ever(gossip, lambda: signed(deployment_of(settings, service.addresses()), signer))
                    )
                tasks.create_task(service.run())
        finally:
            if link is not broker:
                await link.close()
    finally:
        await gossip.close()


def _signer(settings: Settings) -> OrderSigner | None:
    """Return what proves where the deployment is; None where that key is not."""
    if not (settings.keys_folder / "orders.key").exists():
        log.info("no orders.key here: programs cannot find the deployment through this one (WARRENER_JOIN)")
        return None
    return read_signer(settings.keys_folder)


if __name__ == "__main__":
    sys.exit(serve_program(run, name="gossip"))
