"""List scheduling without any overhead: what a scheduler would reach that costs nothing and knows every run time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from warrener.upward_rank import upward_ranks


def list_schedule_s(needs: Sequence[Sequence[int]], seconds: Sequence[float], slots: int) -> float:
    """Return the makespan on equal slots when a free slot always starts the ready task of the longest path.

    `needs[t]` are the numbers of what t needs, without circles. Equal ranks go first come, first served.
    """
    ranks = upward_ranks(needs, seconds)
    unmet = [len(set(own)) for own in needs]
    needed_by: list[list[int]] = [[] for _ in needs]
    for task, own in enumerate(needs):
        for upstream in set(own):
            needed_by[upstream].append(task)
    ready = [(-ranks[task], 0.0, task) for task, count in enumerate(unmet) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now_s = 0.0
    while ready or running:
        while ready and len(running) < slots:
            task = heapq.heappop(ready)[2]
            heapq.heappush(running, (now_s + seconds[task], task))
        now_s = running[0][0]
        while running and running[0][0] <= now_s:  # all that end at one moment free their slots before one is given
            for follower in needed_by[heapq.heappop(running)[1]]:
                unmet[follower] -= 1
                if not unmet[follower]:
                    heapq.heappush(ready, (-ranks[follower], now_s, follower))
    return now_s


def bound_s(needs: Sequence[Sequence[int]], seconds: Sequence[float], slots: int) -> float:
    """Return what no schedule can beat: the critical path, or the work divided by the slots."""
    return max(max(upward_ranks(needs, seconds), default=0.0), sum(seconds) / slots)
