"""The store in memory: it outlives every life, and its transactions may fail at each of their ends."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any, TypeVar

from sqlalchemy import Engine

from simulation.faults import Faults
from simulation.loop import LIFE
from simulation.trace import Trace
from warrener.errors import StoreUnavailable
from warrener.store import Changes, Deployment, Transaction
from warrener.stores.applied import Applied
from warrener.stores.sql import Inline, SqlStore, sqlite_engine

T = TypeVar("T")


@lru_cache
def _migrated(shards: int) -> sqlite3.Connection:
    """Migrate once per process; every simulation begins with a copy."""
    engine = sqlite_engine(":memory:")
    store = SqlStore(Inline(engine))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.migrate(shards=shards))
    loop.close()
    connection = engine.raw_connection().driver_connection
    assert isinstance(connection, sqlite3.Connection)
    _KEPT.append(engine)
    return connection


_KEPT: list[Engine] = []


class Disk:
    """The database itself. `connection` looks into it without going through the code under test."""

    def __init__(self, shards: int) -> None:
        self.engine = sqlite_engine(":memory:")
        connection = self.engine.raw_connection().driver_connection
        assert isinstance(connection, sqlite3.Connection)
        self.connection = connection
        _migrated(shards).backup(connection)
        self.up = True

    def close(self) -> None:
        self.engine.dispose()


class SimStore:
    """One life's way to the database."""

    def __init__(self, disk: Disk, rng: Random, faults: Faults, trace: Trace, committed: Callable[[], None]) -> None:
        self._disk, self._rng, self._faults, self._trace = disk, rng, faults, trace
        self._committed = committed
        self._sql = SqlStore(Inline(disk.engine))
        self._last = Applied()

    async def migrate(self, *, shards: int) -> Deployment:
        return Deployment(shards)

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        await self._way()
        self._maybe_fail(self._faults.store_before, "before")
        rolled_back = self._rng.random() < self._faults.store_rolled_back
        result = await self._sql.transact(lambda tx: _undone(work(tx)) if rolled_back else work(tx))
        self._committed()
        await self._way()
        self._maybe_fail(self._faults.store_after, "after")
        return result

    async def apply(self, work: Callable[[Transaction], tuple[T, Changes]]) -> T:
        def read_and_write(tx: Transaction) -> T:
            result, changes = work(tx)
            tx.write(changes)
            return result

        before, own = self._last, Applied()
        self._last = own
        with own:
            if not before.over:
                await before.wait()
            return await self.transact(read_and_write)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        await self._way()
        self._maybe_fail(self._faults.store_before, "read")
        return await self._sql.read(work)

    async def close(self) -> None:
        """The database outlives whoever uses it."""

    async def _way(self) -> None:
        if not self._disk.up:
            await asyncio.sleep(1)
            raise StoreUnavailable("the simulated database is away")
        await asyncio.sleep(self._rng.choice((0.0, 0.0, 0.002, 0.02)))

    def _maybe_fail(self, chance: float, when: str) -> None:
        if self._rng.random() < chance:
            self._trace.add(LIFE.get(), "store", "fails", when)
            raise StoreUnavailable(f"the simulated database went away {when} the commit")


def _undone(result: Any) -> Any:
    raise StoreUnavailable("the simulated database went away in the commit")
