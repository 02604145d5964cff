"""Submitting many tasks with several confirms in flight, by coroutines or by threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat

import uvloop

Submit = Callable[[int], None]
"""Submit this many tasks; return when the broker has confirmed all of them."""


@contextmanager
def by_coroutines(
    start: Callable[[], Awaitable[object]],
    send: Callable[[], Awaitable[object]],
    stop: Callable[[], Awaitable[object]],
    at_once: int,
) -> Iterator[Submit]:
    """Send with up to this many confirms in flight, on the quickest loop there is."""

    async def some(turns: Iterator[None]) -> None:
        for _ in turns:
            await send()

    async def many(number: int) -> None:
        turns = iter(repeat(None, number))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(number, at_once)):
                group.create_task(some(turns))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_awaited(start))
        try:
            yield lambda number: runner.run(_awaited(send) if number == 1 else many(number))
        finally:
            runner.run(_awaited(stop))


@contextmanager
def by_threads(send: Callable[[], object], threads: int) -> Iterator[Submit]:
    """Send from several threads, each waiting for its own confirms: what a synchronous library can do."""

    def some(number: int) -> None:
        for _ in range(number):
            send()

    with ThreadPoolExecutor(threads) as pool:

        def many(number: int) -> None:
            if number == 1:
                send()
                return
            shares = [number // threads + (turn < number % threads) for turn in range(threads)]
            list(pool.map(some, shares))

        yield many


async def _awaited(what: Callable[[], Awaitable[object]]) -> None:
    await what()
