"""The worker of the benchmarks: functions that do nothing, or tell when they started."""

import time

from warrener.worker.functions import Worker

worker = Worker("bench")


@worker.function
async def noop() -> None:
    """Do nothing."""


@worker.function
async def stamp() -> int:
    """Return the monotonic clock, in nanoseconds; one clock for all processes of a machine."""
    return time.monotonic_ns()


if __name__ == "__main__":
    worker.run()
