"""How long tasks have taken, as a hint of how long they will: for the order of the ready, and for what is bundled.

Learned from reports, in memory; now and then what has moved goes to the store, for the next scheduler. Nothing but the
order depends on it, so it may be old, or lost. What the order goes by is `settled_s`: it follows the moving mean only
when that has gone away from it, so that noise neither reorders the equal nor causes writes. Bounded in every direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from warrener.store import RunTime

SHORTEST_S = 0.01
"""What takes less counts as this: no queue could tell the difference."""

MAX_WORKFLOWS = 500
MAX_TASKS_OF_ONE = 5_000
MAX_TASKS = 50_000

_WEIGHT = 0.2
"""What the latest run time counts for in the mean: the last ten make nine tenths of it."""
_MOVED = 0.1
"""By what part of itself the mean must have moved to count as another."""


@dataclass(slots=True)
class _Mean:
    moving_s: float
    settled_s: float


@dataclass(slots=True)
class _Workflow:
    means: dict[str, _Mean] = field(default_factory=dict)
    version: int = 0
    """Counts what settled anew: as long as it stays, so do the expectations."""
    read: bool = False
    """Whether the store was asked."""


class History:
    """The mean run times of tasks, by the names of workflow and task."""

    def __init__(self) -> None:
        self._workflows: dict[str, _Workflow] = {}  # the one used last stands last
        self._tasks = 0
        self._moved: dict[tuple[str, str], None] = {}

    def __len__(self) -> int:
        return self._tasks

    def expected_s(self, workflow: str, task: str) -> float | None:
        """Return how long a task will probably take; None when nobody knows."""
        known = self._workflows.get(workflow)
        mean = known.means.get(task) if known else None
        return None if mean is None else mean.settled_s

    def version(self, workflow: str) -> int:
        """Return a number that stays while no expectation of a workflow changes."""
        known = self._workflows.get(workflow)
        return known.version if known else -1

    def learn(self, workflow: str, task: str, seconds: float) -> None:
        """Hear that a task has taken so long."""
        seconds = max(seconds, SHORTEST_S)
        known = self._workflows.get(workflow) or self._begin(workflow)
        mean = known.means.get(task)
        if mean is None:
            if len(known.means) >= MAX_TASKS_OF_ONE:
                return
            known.means[task] = _Mean(seconds, seconds)
            self._tasks += 1
        else:
            mean.moving_s += (seconds - mean.moving_s) * _WEIGHT
            if abs(mean.moving_s - mean.settled_s) <= _MOVED * mean.settled_s:
                return
            mean.settled_s = mean.moving_s
        known.version += 1
        self._moved[workflow, task] = None
        self._shrink()

    # ── with the store ───────────────────────────────────────────────────────────────────────────────────────

    def has_read(self, workflow: str) -> bool:
        """Tell whether what the store knows of a workflow was taken in; asking counts as a use of it."""
        known = self._workflows.pop(workflow, None)
        if known is None:
            return False
        self._workflows[workflow] = known
        return known.read

    def take_in(self, workflow: str, means_s: Mapping[str, float]) -> None:
        """Take in what the store knows of a workflow; what was learned here since is newer, and stays."""
        known = self._workflows.get(workflow) or self._begin(workflow)
        known.read = True
        known.version += 1
        for task, mean_s in islice(means_s.items(), MAX_TASKS_OF_ONE - len(known.means)):
            if task not in known.means:
                known.means[task] = _Mean(mean_s, mean_s)
                self._tasks += 1
        self._shrink()

    @property
    def has_moved(self) -> bool:
        """Whether there is something to save."""
        return bool(self._moved)

    def unsaved(self, limit: int, now: datetime) -> list[RunTime]:
        """Return some of the means that have moved since they were saved."""
        some = ((*key, self.expected_s(*key)) for key in islice(self._moved, limit))
        return [RunTime(workflow, task, mean_s, now) for workflow, task, mean_s in some if mean_s is not None]

    def saved(self, rows: list[RunTime]) -> None:
        """Hear that the store has these."""
        for row in rows:
            self._moved.pop((row.workflow, row.task), None)

    def _begin(self, workflow: str) -> _Workflow:
        known = self._workflows[workflow] = _Workflow()
        return known

    def _shrink(self) -> None:
        """Forget the workflows that were not used for the longest time."""
        while len(self._workflows) > 1 and (len(self._workflows) > MAX_WORKFLOWS or self._tasks > MAX_TASKS):
            workflow, known = next(iter(self._workflows.items()))
            del self._workflows[workflow]
            self._tasks -= len(known.means)
            for task in known.means:
                self._moved.pop((workflow, task), None)
