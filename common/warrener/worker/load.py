"""Honouring the load: how many slots a worker keeps empty because its host is busy, or short of memory.

What counts is who wants the processor: the runnable threads of the whole host, whosoever they are, per core, as a mean
over the last seconds. A worker's own tasks make load as well, and must not count against it: one thread for every slot
that is taken, up to the number of cores, is put down to them. So a worker that is busy with its own work alone
withholds nothing, as far as the cores go. Its tasks may have more threads than slots; but only empty slots are
withheld, so what they cost comes back when they end, and a worker never stops itself for good.

Memory counts as the share that is free, of the host or of the container's limit, whichever is less. Hosts of more than
32 GiB are judged as if they had 32: there, 3 % of everything would be a lot.

It falls at once and comes back in steps, each only after some quiet, and only when the load is lower than what it was
withheld for by a margin: a load that swings a little must not make slots flap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MEMORY_SEEN_BYTES = 32 * 1024**3

_MEMORY_S = 5.0
"""Over how long the load is averaged."""
_BACK_EVERY_S = 5.0
"""How long it must be quiet before another part of the slots comes back."""
_BACK_PARTS = 4
"""In how many steps all slots come back."""
_MARGIN = 1.25
"""By how much the load must have fallen below what slots were withheld for."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where withholding begins and where it is complete; see `warrener.settings`."""

    load_from: float
    load_full: float
    memory_from: float
    memory_full: float


@dataclass(frozen=True, slots=True)
class Sample:
    """How a host is, at a moment. `runnable`: threads that run or would like to, besides whoever looks."""

    runnable: float
    cores: int
    memory_free: float
    """The share of memory that is free."""


def share_withheld(load: float, memory_free: float, thresholds: Thresholds) -> float:
    """Return which share of its slots a worker should keep empty: 0 to 1."""
    by_load = _ramp(load, thresholds.load_from, thresholds.load_full)
    by_memory = _ramp(-memory_free, -thresholds.memory_from, -thresholds.memory_full)
    return max(by_load, by_memory)


def _ramp(value: float, begin: float, end: float) -> float:
    if value <= begin:
        return 0.0
    return 1.0 if value >= end else (value - begin) / (end - begin)


class Withholding:
    """How many slots are withheld, sample after sample."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._looked_s: float | None = None
        self._quiet_since_s: float | None = None
        self.load = 0.0
        """Runnable threads per core besides the worker's own tasks, as a mean."""
        self.withheld = 0

    def look(self, sample: Sample, *, slots: int, taken: int, now_s: float) -> int:
        """Take a sample in, and return how many slots to keep empty; `taken`: those that are in use."""
        own = min(max(taken, 0), sample.cores)
        self._average(max(0.0, sample.runnable - own) / max(1, sample.cores), now_s)
        wanted = self._slots(slots, 1.0, sample.memory_free)
        if wanted >= self.withheld:
            self.withheld, self._quiet_since_s = wanted, None
        elif self._slots(slots, _MARGIN, sample.memory_free / _MARGIN) >= self.withheld:
            self._quiet_since_s = None
        elif self._quiet_since_s is None:
            self._quiet_since_s = now_s
        elif now_s - self._quiet_since_s >= _BACK_EVERY_S:
            self.withheld = max(wanted, self.withheld - math.ceil(slots / _BACK_PARTS))
            self._quiet_since_s = now_s
        self.withheld = min(self.withheld, slots)
        return self.withheld

    def _average(self, load: float, now_s: float) -> None:
        elapsed_s = 0.0 if self._looked_s is None else max(0.0, now_s - self._looked_s)
        self._looked_s = now_s
        self.load += (load - self.load) * -math.expm1(-elapsed_s / _MEMORY_S)

    def _slots(self, slots: int, margin: float, memory_free: float) -> int:
        share = share_withheld(self.load * margin, memory_free, self._thresholds)
        return int(share * slots)
