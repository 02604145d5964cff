"""Who goes first among the ready: pure rules.

Ready tasks of a lane are ordered by level, then deadline, then the longest expected path to the end of their run (the
upward rank of HEFT: Topcuoglu, Hariri and Wu, 2002), then age. The level is 9 − priority: 0 goes first. Ageing
lifts a task by one level for every `STEP` that it has been ready, so that no class starves: after (9 − p) × STEP a
task of priority p stands among the first, whatever came since.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from warrener.ids import RunId

STEP = timedelta(minutes=10)
"""How long a wait is worth one priority."""

TOP = 0
BOTTOM = 9


class Turn(NamedTuple):
    """A task's place in the order; the smallest goes first. The same order as the index `tasks_ready`."""

    level: int
    deadline_at: datetime
    minus_path_s: float
    ready_at: datetime
    run: RunId
    n: int


def level_of(priority: int) -> int:
    """Return the level of a task that has just become ready."""
    return BOTTOM - priority


def aged_level(priority: int, waited: timedelta) -> int:
    """Return the level after a wait."""
    return max(TOP, level_of(priority) - max(0, waited // STEP))
