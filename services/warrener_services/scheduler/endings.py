"""Which of the long tasks in flight will probably end in a moment: so many may be ordered ahead of free slots."""

from __future__ import annotations

import heapq
from collections.abc import Container
from datetime import datetime, timedelta

from warrener.ids import TaskRef
from warrener.matching import SOON

_SPARE = 1_000


class Endings:
    """The expected ends of tasks in flight. What ended before, or is not over long after, counts no more."""

    def __init__(self) -> None:
        self._later: list[tuple[datetime, TaskRef]] = []  # a heap; also holds what is over, for a while
        self._soon: dict[TaskRef, datetime] = {}

    def __len__(self) -> int:
        return len(self._later) + len(self._soon)

    def expect(self, task: TaskRef, at: datetime, in_flight: Container[TaskRef], open_tasks: int) -> None:
        """Hear when a task that was just ordered will probably be over, if all goes well."""
        heapq.heappush(self._later, (at, task))
        if len(self._later) > 2 * open_tasks + _SPARE:
            self._later = [entry for entry in self._later if entry[1] in in_flight]
            heapq.heapify(self._later)

    def soon(self, now: datetime, in_flight: Container[TaskRef]) -> int:
        """Return how many tasks should end within `SOON`, or should just have ended."""
        while self._later and self._later[0][0] <= now + SOON:
            at, task = heapq.heappop(self._later)
            self._soon[task] = at
        self._soon = {task: at for task, at in self._soon.items() if at >= now - SOON and task in in_flight}
        return len(self._soon)


def expected_end(now: datetime, seconds: float) -> datetime:
    """Return when what takes so long is over; a far future stays within the calendar."""
    return now + timedelta(seconds=min(seconds, 1e8))
