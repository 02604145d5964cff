"""Blocking work that is waited for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from warrener.threads import held, in_thread


class Gate:
    """Work that says when it has begun, and ends when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = False

    def work(self) -> str:
        self.begun.set()
        assert self.may_end.wait(10)
        self.ended = True
        return "thing"


async def test_a_cancelled_caller_leaves_only_after_the_work() -> None:
    gate = Gate()
    working = asyncio.create_task(in_thread(gate.work))
    await asyncio.to_thread(gate.begun.wait)
    for _ in range(2):
        working.cancel()
        await asyncio.wait([working], timeout=0)
    assert not working.done()
    gate.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert gate.ended


async def test_what_was_acquired_while_being_cancelled_is_released() -> None:
    gate, released = Gate(), []

    async def hold() -> None:
        async with held(gate.work, released.append):
            pytest.fail("never held")

    holding = asyncio.create_task(hold())
    await asyncio.to_thread(gate.begun.wait)
    holding.cancel()
    gate.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert released == ["thing"]


async def test_what_fails_in_the_thread_fails_here() -> None:
    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await in_thread(fail)
    with pytest.raises(OSError, match="no"):
        async with held(fail, print):
            pytest.fail("never held")
