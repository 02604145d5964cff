"""A user's own functions, called by name."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from owner import Owner
from warrener.errors import Cause, InvalidSettings, TaskFailed
from warrener.ids import BootId
from warrener.messages import Kind
from warrener.performer import Assignment
from warrener.site import Site
from warrener.worker import CallPerformer, Worker
from warrener.worker.threads import CallThreads

worker = Worker("images")


@worker.function
def thumbnail(path: str, size: int = 128) -> dict[str, Any]:
    return {"path": path, "size": size}


@worker.function(name="deep.fetch")
async def fetch(url: str) -> str:
    await asyncio.sleep(0)
    return url


@worker.function
def leave() -> None:
    sys.exit(3)


@worker.function
def exhausted() -> None:
    raise StopIteration


@worker.function
def decorated() -> Any:
    return fetch("x")


@worker.function
def fails() -> None:
    raise TaskFailed(Cause.EXIT, "told so")


async def call(function: str, args: Any = None) -> Any:
    body = {"function": function} | ({} if args is None else {"args": args})
    order = Owner().make(kind=Kind.CALL, body=body)
    threads = CallThreads(1)
    try:
        assignment = Assignment(order, Site("s", Path()), "0" * 32, BootId("b"), None, lambda *_: None)
        return await CallPerformer(worker, threads).perform(assignment)
    finally:
        threads.shutdown()


async def test_plain_and_async_functions_are_called_with_arguments_by_name_or_in_order() -> None:
    assert await call("images.thumbnail", {"path": "a"}) == {"path": "a", "size": 128}
    assert await call("images.thumbnail", ["a", 1]) == {"path": "a", "size": 1}
    assert await call("images.deep.fetch", {"url": "u"}) == "u"
    assert await call("images.decorated") == "x"


@pytest.mark.parametrize(
    ("function", "args", "said"),
    [
        ("images.thumbnail", {"size": 1}, "'path' is missing"),
        ("images.thumbnail", {"path": "a", "colour": 1}, "no argument 'colour'"),
        ("images.thumbnail", [1, 2, 3], "too many positional arguments"),
        ("images.thumbnail", "a", "args must be an object"),
        ("images.thumbnial", {}, "did you mean images.thumbnail"),
        ("os.system", {}, "has no function 'os.system'"),
    ],
)
async def test_what_cannot_be_called_is_refused_and_says_why(function: str, args: Any, said: str) -> None:
    with pytest.raises(TaskFailed, match=said) as caught:
        await call(function, args)
    assert caught.value.cause is Cause.REFUSED


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        ("leave", TaskFailed, "tried to end the process"),
        ("exhausted", RuntimeError, "StopIteration"),
        ("fails", TaskFailed, "told so"),
    ],
)
async def test_whatever_a_function_raises_comes_out(function: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        await call(f"images.{function}")


def test_only_what_can_be_called_by_name_is_registered() -> None:
    mine = Worker("mine")
    with pytest.raises(InvalidSettings, match="cannot name a function"):
        mine.function(lambda: None)
    with pytest.raises(InvalidSettings, match="cannot name a function"):
        mine.function(functools.partial(print))
    mine.function(print)
    with pytest.raises(InvalidSettings, match="registered twice"):
        mine.function(print)
    with pytest.raises(InvalidSettings, match="generator"):

        @mine.function
        def stream():  # type: ignore[no-untyped-def]
            yield 1

    with pytest.raises(InvalidSettings, match="app name"):
        Worker("My App")


variable: ContextVar[str] = ContextVar("variable", default="clean")


@worker.function
def swap(value: str) -> str:
    before = variable.get()
    variable.set(value)
    return before


@worker.function
async def swap_twice(value: str) -> list[str]:
    before = swap(value)
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    return [before, swap("again")]


async def test_what_a_call_leaves_in_its_context_does_not_reach_the_next() -> None:
    for _ in range(2):
        assert await call("images.swap", {"value": "a"}) == "clean"
        assert await call("images.swap_twice", {"value": "b"}) == ["clean", "b"]
    assert variable.get() == "clean"


async def test_a_call_that_was_given_up_does_not_block_the_next() -> None:
    from warrener.worker.threads import in_thread

    threads, begun, gate = CallThreads(1), threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        gate.wait(30)

    stuck = asyncio.create_task(in_thread(threads, block))
    await asyncio.to_thread(begun.wait, 30)
    stuck.cancel()
    await asyncio.wait([stuck])
    assert await in_thread(threads, lambda: 7) == 7
    gate.set()
    threads.shutdown()


async def test_no_more_threads_than_allowed_work_at_a_time() -> None:
    from warrener.worker.threads import in_thread

    threads, lock = CallThreads(2), threading.Lock()
    seen: set[int] = set()

    def note() -> None:
        with lock:
            seen.add(threading.get_ident())

    await asyncio.gather(*(in_thread(threads, note) for _ in range(50)))
    assert len(seen) <= 2
    threads.shutdown()
