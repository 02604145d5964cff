"""Threads for functions that block.

Not `ThreadPoolExecutor`: its threads are joined at the end of the process, so one function that never returns would
keep a stopped worker alive for ever. And a call that was given up (timeout, cancel) keeps its thread, because Python
cannot end one; the thread is then no longer counted, so that the next call finds room, and ends with its function.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple[Future[Any], Callable[[], Any]]


class CallThreads(Executor):
    """At most `most` threads at work, begun when needed, never waited for."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._counted = 0
        self._waiting = 0
        self._given_up: set[Future[Any]] = set()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("these threads take no more calls")
            self._jobs.append((future, lambda: fn(*args, **kwargs)))
            self._begin_threads()
            self._changed.notify()
        return future

    def give_up(self, future: Future[Any]) -> None:
        """No longer count the thread that runs this, if one does."""
        with self._changed:
            if future.running():
                self._given_up.add(future)
                self._counted -= 1
                self._begin_threads()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the signature of Executor
        """Let idle threads end; busy ones end with their function, or with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _begin_threads(self) -> None:
        if len(self._jobs) > self._waiting and self._counted < self._most:
            self._counted += 1
            threading.Thread(target=self._work, name="warrener-call", daemon=True).start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            future, what = job
            if future.set_running_or_notify_cancel():
                _run(future, what)
            with self._changed:
                if future in self._given_up:
                    self._given_up.discard(future)
                    return
            del job, future, what  # keep nothing of the last call alive while waiting for the next

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._waiting += 1
                self._changed.wait()
                self._waiting -= 1
            return self._jobs.popleft()


def _run(future: Future[Any], what: Callable[[], Any]) -> None:
    try:
        result = what()
    except StopIteration as error:  # asyncio's future does not take it, and its waiter would hang
        wrapped = RuntimeError("the function raised StopIteration")
        wrapped.__cause__ = error
        future.set_exception(wrapped)
    except BaseException as error:  # noqa: BLE001 - the waiter judges it
        future.set_exception(error)
    else:
        future.set_result(result)


async def in_thread(executor: Executor, fn: Callable[[], T]) -> T:
    """Run a function in the executor; when cancelled, give its thread up."""
    future = executor.submit(fn)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if isinstance(executor, CallThreads):
            executor.give_up(future)
        raise
