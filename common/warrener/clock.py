"""Time, passed in: a steady wall clock, and a clock that counts suspended time.

Sleeping and time-outs use the event loop, so that the simulation can run on virtual time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the programs know about time."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC; it never goes back while the program runs."""
        ...

    def boot_s(self) -> float:
        """Return seconds since the machine's boot, suspended time included: leases are counted on this."""
        ...


class SystemClock:
    """The machine's clocks.

    The wall clock is read once and carried on by the monotonic one: a step of the machine's clock does not move
    leases and timers of a running program.
    """

    def __init__(self) -> None:
        self._wall = datetime.now(UTC)
        self._steady = time.monotonic()

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=time.monotonic() - self._steady)

    def boot_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
