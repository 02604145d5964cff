"""The program `gateway`: wiring only."""

from __future__ import annotations

import sys
from random import SystemRandom

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.clock import SystemClock
from warrener.ids import new_token
from warrener.runtime.serve import serve_program
from warrener.runtime.watched import watched
from warrener.settings import Settings
from warrener.stores import open_store

from .backlog import Backlog
from .gateway import Gateway
from .listening import listening
from .service import serve


async def run(settings: Settings, broker: Broker | None = None) -> None:
    """Run until cancelled."""
    rng = SystemRandom()
    name = f"gateway-{settings.host}-{new_token(rng)[:6]}"
    with listening(settings.listen_url, token=settings.token, trust_network=settings.trust_network) as sock:
        store = open_store(settings.store_url)
        link = broker or open_broker(settings.broker, name=name)
        try:
            gateway = Gateway(store, link, SystemClock(), rng, name, backlog=Backlog(settings.backlog))
            async with watched(settings, "gateway", f"gateway-{settings.host}", broker=link, store=store):
                await serve(
                    gateway, sock, token=settings.token, shards=settings.shards, stop_timeout=settings.stop_timeout
                )
        finally:
            if link is not broker:
                await link.close()
            await store.close()


if __name__ == "__main__":
    sys.exit(serve_program(run, name="gateway"))
