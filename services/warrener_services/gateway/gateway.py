"""What every route works with, and whether the parts behind it are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import structlog

from warrener.broker import Broker, Message
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, StoreUnavailable
from warrener.ids import new_token
from warrener.messages import Wake, encode
from warrener.runtime.parts import migrated
from warrener.settings import Settings
from warrener.store import Store, Transaction
from warrener.topology import CONTROL

from .backlog import Backlog
from .pools import Pools
from .roll import Roll
from .watching import Watch

log = structlog.get_logger(__name__)
T = TypeVar("T")

_WAKE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Gateway:
    """What every route works with. Until `open` has found the store, whoever needs it is told to come again."""

    store: Store
    broker: Broker
    clock: Clock
    rng: Random
    name: str
    roll: Roll = field(default_factory=Roll)
    pools: Pools = field(default_factory=Pools)
    watch: Watch = field(default_factory=Watch)
    backlog: Backlog = field(default_factory=lambda: Backlog(Settings.model_fields["backlog"].default))
    shards: int | None = None
    """How many shards the deployment has; known when the store is there."""
    _to_wake: set[int] = field(default_factory=set)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, *, shards: int) -> None:
        """Wait for the store."""
        self.shards = (await migrated(self.store, shards=shards)).shards

    def known_shards(self) -> int:
        """Return the number of shards; raises StoreUnavailable before the store was there."""
        if self.shards is None:
            raise StoreUnavailable("the gateway has not reached its database yet; repeat in a moment")
        return self.shards

    async def read(self, work: Callable[[Transaction], T]) -> T:
        self.known_shards()
        return await self.store.read(work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        self.known_shards()
        return await self.store.transact(work)

    def wake(self, shards: set[int]) -> None:
        """Tell the owners of these shards, soon and without waiting: they look by themselves too."""
        self._to_wake |= shards
        self._woken.set()

    async def keep_waking(self) -> None:
        """Publish what `wake` collects, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            shards, self._to_wake = sorted(self._to_wake), set()
            body = encode(Wake(shards=shards))
            message = Message(
                CONTROL, "wake", Wake.KIND, body, new_token(self.rng), durable=False, mandatory=False
            )  # fmt: skip
            try:
                async with asyncio.timeout(_WAKE_TIMEOUT_S):
                    await self.broker.publish(message)
            except (BrokerUnavailable, TimeoutError) as error:
                log.debug("could not wake the schedulers; they look by themselves", reason=str(error))
