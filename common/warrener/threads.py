"""Blocking work in a thread that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread; when cancelled, leave only after the work has ended.

    So nobody closes a descriptor, or removes a file, under a thread that still uses it. Keep the work short.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):  # the first one is raised again below
                await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # looked at, so that asyncio does not warn: the cancellation counts
        raise
