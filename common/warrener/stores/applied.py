"""How one application of changes waits for the one before: a chain in which nothing is built on what failed."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from warrener.errors import Undone


class Applied:
    """One application of changes. As a context it is under way, and has failed when anything is raised within."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._begun = False
        self._failed = False

    @property
    def over(self) -> bool:
        """Whether nobody has to wait for it: it has ended, or it is the beginning of the chain."""
        return self._ended.is_set() or not self._begun

    async def wait(self) -> None:
        """Wait for its end; raises Undone if it failed."""
        await self._ended.wait()
        if self._failed:
            raise Undone("what this was built on could not be written")

    def __enter__(self) -> Self:
        self._begun = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._failed = kind is not None
        self._ended.set()
