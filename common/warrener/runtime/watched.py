"""What runs beside every program: the watchdog over its broker, and the endpoint that tells of its health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import SystemRandom

from warrener.broker import Broker
from warrener.gossip import Gossip
from warrener.runtime.health import Check, Health, health_socket, serve_health
from warrener.runtime.serve import end_after
from warrener.runtime.watchdog import Watchdog
from warrener.settings import Settings
from warrener.store import Store


@asynccontextmanager
async def watched(
    settings: Settings,
    program: str,
    name: str,
    *,
    broker: Broker,
    store: Store | None = None,
    gossip: Gossip | None = None,
    lives_of_gossip: bool = False,
) -> AsyncIterator[None]:
    """Watch over a program while the context lasts.

    `name` is one that this program may begin the names of its queues with. Raises InvalidSettings for WARRENER_HEALTH,
    and BrokerUnavailable, with the program cancelled, when it should be started anew.
    """
    dog = None if settings.broker.startswith("memory:") else Watchdog(broker, name, SystemRandom())
    checks = _checks(broker, dog, store, gossip)
    optional = frozenset() if lives_of_gossip else frozenset({"gossip"})
    with health_socket(settings, name) as sock:
        health = Health(program, name, checks, optional=optional, probe_age_s=dog.age_s if dog else lambda: None)
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = []
                if sock is not None:
                    beside.append(tasks.create_task(serve_health(health, sock)))
                if dog is not None:
                    beside.append(tasks.create_task(_watch(dog, program, settings)))
                try:
                    yield
                finally:
                    for task in beside:
                        task.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None  # as if nothing ran beside it
            raise


async def _watch(dog: Watchdog, program: str, settings: Settings) -> None:
    """Watch; when the program has to end, it has as long as after a signal, and not longer."""
    try:
        await dog.run()
    except BaseExceptionGroup as group:
        end_after(settings.stop_timeout, program)
        raise group.exceptions[0] from None


def _checks(broker: Broker, dog: Watchdog | None, store: Store | None, gossip: Gossip | None) -> Mapping[str, Check]:
    checks: dict[str, Check] = {}

    async def broker_trouble() -> str:
        return broker.trouble() or (dog.trouble() if dog else "")

    checks["broker"] = broker_trouble
    if store is not None:
        looked_at = store

        async def store_trouble() -> str:
            await looked_at.read(lambda tx: tx.notes.parked(1))
            return ""

        checks["store"] = store_trouble
    if gossip is not None:
        heard = gossip

        async def gossip_trouble() -> str:
            await heard.members()
            return ""

        checks["gossip"] = gossip_trouble
    return checks
