"""Asking the store until it answers, and knowing from that whether it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from warrener.errors import StoreUnavailable
from warrener.store import Store, Transaction

from .absence import Absence
from .ear import Ear

T = TypeVar("T")

_AGAIN_S = 1.0
_ANSWERS_WITHIN_S = 10.0


class Asking:
    """A store that is asked again while it is away.

    A database that is read-only or full may answer whoever reads: only who writes can tell that it is back for them.
    """

    def __init__(self, store: Store, ear: Ear) -> None:
        self._store, self._absence = store, Absence("store", ear)
        self.misses = 0
        """How often it was not there for who waits until it is."""

    async def open(self, *, shards: int) -> None:
        """Wait until the store is there, and bring its tables to this version, however long that takes."""
        await self.read(lambda _: None)
        await self._until(lambda: self._store.migrate(shards=shards), "writing")

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Read and write in one transaction. Raises StoreRefused."""
        return await self._until(lambda: self._store.transact(work), "writing")

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Read in one transaction."""
        return await self._until(lambda: self._read_in_time(work), "reading")

    def missed(self, error: StoreUnavailable, by: str = "reading") -> None:
        """Hear that the store was not there for somebody."""
        self._absence.noticed(by, error)

    async def _until(self, ask: Callable[[], Awaitable[T]], by: str) -> T:
        while True:
            try:
                result = await ask()
            except StoreUnavailable as error:
                self.misses += 1
                self.missed(error, by)
                await asyncio.sleep(_AGAIN_S)
            else:
                self._absence.over(by)
                return result

    async def _read_in_time(self, work: Callable[[Transaction], T]) -> T:
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                return await self._store.read(work)
        except TimeoutError as error:
            raise StoreUnavailable(f"the database has not answered for {_ANSWERS_WITHIN_S:g} s") from error
