"""Blocking work in a thread that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread; when cancelled, leave only after the work has ended.

    So nobody closes a descriptor, or removes a file, under a thread that still uses it. Keep the work short. What
    must be released again belongs into `held`.
    """
    return await _outlast(asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs)))


@asynccontextmanager
async def held(acquire: Callable[[], T], release: Callable[[T], None]) -> AsyncIterator[T]:
    """Acquire something in a thread, and release it at the end; also when cancelled while it is being acquired."""
    working = asyncio.ensure_future(asyncio.to_thread(acquire))
    try:
        thing = await _outlast(working)
    except asyncio.CancelledError:
        if not working.cancelled() and working.exception() is None:
            release(working.result())
        raise
    try:
        yield thing
    finally:
        release(thing)


async def _outlast(working: asyncio.Future[T]) -> T:
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):  # the first one is raised again below
                await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # looked at, so that asyncio does not warn: the cancellation counts
        raise
