"""Tasks end also when a library swallows their first cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from warrener.brokers.ending import end, stop_if_cancelled


async def deaf_once(begun: asyncio.Event) -> None:
    begun.set()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def test_a_task_that_did_not_hear_is_told_again() -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(deaf_once(begun))
    await begun.wait()
    async with asyncio.timeout(5):
        await end(task, again_s=0.01)
    assert task.cancelled()


async def test_a_task_that_did_not_hear_can_find_out() -> None:
    async def asks() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        stop_if_cancelled()

    task = asyncio.create_task(asks())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stop_if_cancelled()  # this one was not
