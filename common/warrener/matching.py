"""How much to release, in what parcels, and to whom: pure rules.

Queues stay short. A lane gets as many orders as its free slots can start, plus what it completes in `AHEAD`, so that
no worker waits for the scheduler and no urgent task waits behind a long queue.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

AHEAD = timedelta(milliseconds=200)
"""How much work lies in a queue beyond what the free slots take: more than the way there and back takes under load."""

SOON = timedelta(milliseconds=50)
"""A slot that will be free within this counts as free: that is how long an order may be on its way."""

MAX_BUNDLE = 50
"""How many light orders one message carries at most: more gains little and delays the urgent."""

LONG = timedelta(milliseconds=50)
"""What is expected to take this long travels alone, and waits at the scheduler until a slot is free, or should be
so `SOON`. Calls of which nothing is expected travel alone as well where calls take longer on average."""

_MEMORY_S = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """A worker as placement sees it: its capacity and what it holds, in slots."""

    worker: str
    site: str
    slots: int
    used: int
    doubted: bool = False
    """Whether it may take nothing: it did not take the last order that was for it alone."""

    @property
    def free(self) -> int:
        return self.slots - self.used


def credit(*, slots: int, in_flight: int, per_second: float, ending: float = math.inf) -> int:
    """Return how many more slots' worth of orders a lane may get now; never negative, 0 without workers.

    `ending`: how many slots are known to be free in a moment, where that is known.
    """
    if slots <= 0:
        return 0
    ahead = min(math.ceil(per_second * AHEAD.total_seconds()), ending)
    return max(0, slots + int(ahead) - in_flight)


def shares(slots: int, demands: Mapping[str, int]) -> dict[str, int]:
    """Share the slots of a lane by what each scheduler wants of it; everybody with work gets one at least.

    All slots are shared while anybody has work, and one that is alone with its work gets all of them. Apart from that
    one at least, the sum is `slots`, provided that all reckon with the same demands.
    """
    wanted = sum(demands.values())
    given: dict[str, int] = {}
    before = 0
    for name in sorted(demands):  # the fractions add up as they go, so that none gets lost
        after = before + demands[name]
        whole = slots * after // wanted - slots * before // wanted if wanted else 0
        given[name] = max(min(1, demands[name], slots), whole)
        before = after
    return given


def smooth_rate(rate: float, completed: int, elapsed_s: float) -> float:
    """Return the completions per second after `completed` more in `elapsed_s`: an exponential mean over 0.5 s."""
    if elapsed_s <= 0:
        return rate + completed / _MEMORY_S
    forgotten = -math.expm1(-elapsed_s / _MEMORY_S)  # exact also for the shortest of times
    return rate * (1 - forgotten) + completed * (forgotten / elapsed_s)


def bundle_size(*, orders: int, workers: int, mean: timedelta) -> int:
    """Return how many light orders of one lane travel in a message.

    One at idle; as the backlog grows every worker gets two messages' worth, up to `MAX_BUNDLE`, and not more work than
    fits into `SOON`: the last of a bundle waits for the others. Long calls never are bundled.
    """
    if mean > LONG:
        return 1
    short = MAX_BUNDLE if not mean else int(min(SOON / mean, MAX_BUNDLE))
    return max(1, min(short, orders // max(1, 2 * workers)))


def choose(places: Iterable[Place], *, weight: int, site: str | None) -> Place | None:
    """Choose the worker with the most free slots that can take the task at its site, one in doubt last; or None."""
    able = [place for place in places if place.free >= weight and site in (None, place.site)]
    return max(able, key=lambda place: (not place.doubted, place.free, place.worker), default=None)
