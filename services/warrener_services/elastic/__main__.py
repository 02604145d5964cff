"""The program `elastic`: wiring only."""

from __future__ import annotations

import sys
from random import SystemRandom

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.clock import SystemClock
from warrener.errors import InvalidSettings
from warrener.ids import new_token
from warrener.runtime.serve import serve_program
from warrener.runtime.watched import watched
from warrener.settings import Settings

from .drivers import open_driver
from .rules import read_rules
from .service import ElasticService


async def run(settings: Settings, broker: Broker | None = None) -> None:
    """Run until cancelled. Raises InvalidSettings without a file of rules, or for a wrong one."""
    if settings.elastic is None:
        raise InvalidSettings("WARRENER_ELASTIC is not set: it names the file of rules; docs/elastic.md has an example")
    rules = read_rules(settings.elastic)
    drivers = {name: open_driver(name, pool, settings) for name, pool in rules.pools.items()}
    rng = SystemRandom()
    who = f"{settings.worker or settings.host}-{new_token(rng)}"
    link = broker or open_broker(settings.broker, name=f"elastic-{who}")
    try:
        service = ElasticService(
            rules, drivers, broker=link, clock=SystemClock(), settings=settings, who=who, rng=rng
        )  # fmt: skip
        async with watched(settings, "elastic", f"elastic-{settings.worker or settings.host}", broker=link):
            await service.run()
    finally:
        if link is not broker:
            await link.close()


if __name__ == "__main__":
    sys.exit(serve_program(run, name="elastic"))
