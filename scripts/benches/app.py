"""The worker of the benchmarks: functions that do nothing, or tell when they started."""

import asyncio
import os
import time
from functools import cache

from warrener.worker.functions import Worker

worker = Worker("bench")


@worker.function
async def noop() -> None:
    """Do nothing."""


@worker.function
async def stamp() -> int:
    """Return the monotonic clock, in nanoseconds; one clock for all processes of a machine."""
    return time.monotonic_ns()


@worker.function
async def held(asked_ns: int, starts: str, seconds: float) -> None:
    """Write down when this was asked for and when it started, then wait."""
    os.write(_appending(starts), f"{asked_ns} {time.monotonic_ns()}\n".encode())
    if seconds:
        await asyncio.sleep(seconds)


@cache
def _appending(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


if __name__ == "__main__":
    worker.run()
