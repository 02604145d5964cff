"""Ending tasks that wait within the AMQP library, for which one cancellation is not always enough.

Before Python 3.12 `asyncio.wait_for` may swallow a cancellation that comes in the same turn as its result
(https://github.com/python/cpython/issues/86296), and the library waits by it. The task then goes on as if nothing had
been said, and whoever waits for its end waits for ever.
"""

from __future__ import annotations

import asyncio

_AGAIN_S = 7.0
"""Longer than what a task may take for its own cleaning up, which must not be cancelled."""


async def end(*tasks: asyncio.Task[None], again_s: float = _AGAIN_S) -> None:
    """Cancel tasks until they are done."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=again_s)


def stop_if_cancelled() -> None:
    """Raise the CancelledError of a task that was cancelled and has not heard of it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling() > 0:
        raise asyncio.CancelledError
