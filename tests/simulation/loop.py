"""An event loop whose time is virtual, whose order is drawn from a seed, and whose programs can be killed or frozen.

Every program of the simulation is a `Life`; whatever it starts carries it along in its context. The loop runs one
callback at a time: between two of them a life may be ended as kill -9 would (none of its callbacks runs any more, not
even a `finally`), or frozen as SIGSTOP would (its callbacks wait, time goes on). Callbacks of one life keep their
order, as asyncio promises; which life comes next is chance, and with `shuffled` so is the order within a life.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from random import Random
from typing import Any

MAX_STEPS = 400_000


class Life:
    """One life of one simulated program."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.frozen = False
        self.thawed_s = float("-inf")
        self.held: list[asyncio.Handle] = []

    def __repr__(self) -> str:
        return self.name


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class Violation(BaseException):
    """A promise was broken. Not an Exception: no program may catch it."""


class SimFuture(asyncio.Future):  # type: ignore[type-arg]
    """A future whose place in a set does not depend on its address."""

    def __init__(self, *, loop: SimLoop) -> None:
        super().__init__(loop=loop)
        self._serial = next(loop.serials)

    def __hash__(self) -> int:
        return self._serial


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set does not depend on its address."""

    def __init__(self, coro: Any, *, loop: SimLoop, context: Context | None = None) -> None:
        self._serial = next(loop.serials)
        super().__init__(coro, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._serial


class SimLoop(asyncio.BaseEventLoop):
    """The loop."""

    def __init__(self, rng: Random, *, shuffled: bool = False) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.steps = 0
        self.serials = itertools.count(1)
        self.on_step: Callable[[Life | None], None] = lambda life: None
        self.violation: Violation | None = None
        self._rng = rng
        self._shuffled = shuffled
        self._ready: list[asyncio.Handle] = []  # type: ignore[assignment]
        self._every_task: list[SimTask] = []
        self.set_task_factory(self._new_task)

    def time(self) -> float:
        return self.now_s

    def create_future(self) -> SimFuture:
        return SimFuture(loop=self)

    def violate(self, sentence: str) -> None:
        """Note a broken promise; the loop ends before its next step."""
        if self.violation is None:
            self.violation = Violation(sentence)

    def live(self, life: Life, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin a life."""
        context = Context()
        context.run(LIFE.set, life)
        return self.create_task(main, name=life.name, context=context)

    def freeze(self, life: Life) -> None:
        life.frozen = True

    def thaw(self, life: Life) -> None:
        life.frozen = False
        life.thawed_s = self.now_s
        self._ready += life.held
        life.held.clear()

    def kill(self, life: Life) -> None:
        life.dead = True
        life.frozen = False
        life.held.clear()

    def bury(self) -> None:
        """Finish, after the simulation, the coroutines that nobody will ever run."""
        for task in self._every_task:
            if not task.done():
                task._log_destroy_pending = False
                _close(task.get_coro())
        self._every_task.clear()

    def _new_task(self, loop: Any, coro: Any, context: Context | None = None) -> SimTask:
        task = SimTask(coro, loop=loop, context=context)
        self._every_task.append(task)  # an ended life's coroutines must not be finalized while the others live on
        return task

    def _run_once(self) -> None:
        if self.violation is not None:
            raise self.violation
        if self.steps > MAX_STEPS:
            raise Violation(f"no end after {MAX_STEPS:,} steps")
        self._collect_due()
        while not self._ready:
            if not self._scheduled:
                raise Violation("nothing can happen any more")
            self.now_s = max(self.now_s, self._scheduled[0]._when)
            self._collect_due()
        handle = self._ready.pop(self._next())
        life = handle._context.get(LIFE)  # type: ignore[attr-defined]
        if handle._cancelled or (life is not None and life.dead):
            return
        if life is not None and life.frozen:
            life.held.append(handle)
            return
        handle._run()
        self.steps += 1
        self.on_step(life)

    def _next(self) -> int:
        ready = self._ready
        if len(ready) == 1:
            return 0
        chosen = int(self._rng.random() * len(ready))
        if self._shuffled:
            return chosen
        life = ready[chosen]._context.get(LIFE)  # type: ignore[attr-defined]
        return next(i for i, handle in enumerate(ready) if handle._context.get(LIFE) is life)  # type: ignore[attr-defined]

    def _collect_due(self) -> None:
        scheduled = self._scheduled
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= self.now_s):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to count: cancelled timers are dropped when met."""

    def _asyncgen_finalizer_hook(self, agen: object) -> None:
        """Leave what a dead life had open as it is: kill -9 runs no `finally`."""

    async def shutdown_asyncgens(self) -> None:
        """No simulated program leaves one open."""


def _close(coro: Any) -> None:
    for _ in range(50):
        try:
            coro.close()
        except RuntimeError:  # it awaits in a finally
            continue
        except BaseException:  # noqa: BLE001 - it is dead, its last words do not matter
            pass
        return
