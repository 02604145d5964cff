"""A budget of slots that several workers live on: what runs is never interrupted, and no slot is lost or doubled."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from owner import Owner
from warrener.dividing import Bounds
from warrener.errors import InvalidSettings
from warrener.messages import DEMAND_BELIEVED_S, Demand, Kind, LaneDemand, Order
from warrener.worker.several import Several
from warrener.worker.slots import Slots

BUDGET = 9
LANES = {"env": Bounds(), "stage": Bounds(), "job": Bounds()}


class Member:
    """A worker as the budget sees it."""

    def __init__(self, slots: tuple[int, int]) -> None:
        self.slots = Slots(*slots)
        self.who = SimpleNamespace(site=SimpleNamespace(name="here"))
        self.up = asyncio.Event()
        self.told: list[int] = []
        self.takes_work = True

    def resized(self) -> None:
        self.told.append(self.slots.offered)


class Worker:
    """A worker of three kinds, with a clock moved by hand."""

    def __init__(self, **bounds: Bounds) -> None:
        self.now_s = 100.0
        lanes = LANES | bounds
        self.several = Several(
            lanes, BUDGET, settle=timedelta(seconds=3), rng=Random(1), now_s=lambda: self.now_s,
        )  # fmt: skip
        self.members = {lane: Member(self.several.slots(lane)) for lane in lanes}
        for lane, member in self.members.items():
            self.several.join(lane, cast("Any", member))
        self._owner = Owner()
        self._n = 0

    def hear(self, **wanted: int) -> None:
        lanes = {lane: LaneDemand(in_flight=0, ready=number, queued=number) for lane, number in wanted.items()}
        self.several.hear(Demand(scheduler="s", lanes=lanes))

    def begin(self, lane: str, weight: int = 1) -> Order:
        self._n += 1
        order = self._owner.make(self._n, kind=Kind.JOB, weight=weight)
        self.members[lane].slots.take(order)
        return order

    @property
    def counts(self) -> dict[str, int]:
        return {lane: member.slots.count for lane, member in self.members.items()}

    @property
    def offered(self) -> dict[str, int]:
        return {lane: member.slots.offered for lane, member in self.members.items()}


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_it_begins_evenly(worker: Worker) -> None:
    assert worker.counts == {"env": 3, "stage": 3, "job": 3}


def test_free_slots_move_at_once_and_schedulers_are_told(worker: Worker) -> None:
    worker.hear(job=50)
    worker.several.shift()
    assert worker.counts == worker.offered == {"env": 1, "stage": 1, "job": 7}
    assert {lane: member.told[-1] for lane, member in worker.members.items()} == worker.counts


def test_a_taken_slot_moves_when_it_is_free_and_is_not_offered_meanwhile(worker: Worker) -> None:
    orders = [worker.begin("env") for _ in range(3)]
    worker.hear(job=50)
    worker.several.shift()
    assert worker.counts == {"env": 3, "stage": 1, "job": 5}
    assert worker.offered == {"env": 1, "stage": 1, "job": 5}
    worker.members["env"].slots.release(orders[0])
    assert worker.counts == {"env": 2, "stage": 1, "job": 6}
    worker.members["env"].slots.release(orders[1])
    worker.members["env"].slots.release(orders[2])
    assert worker.counts == worker.offered == {"env": 1, "stage": 1, "job": 7}


def test_what_is_heavier_than_its_shrunken_lane_gives_back_what_it_took(worker: Worker) -> None:
    heavy = worker.begin("env", weight=3)
    worker.hear(job=50)
    worker.several.shift()
    worker.members["env"].slots.release(heavy)
    assert (worker.counts, worker.members["env"].slots.free) == ({"env": 1, "stage": 1, "job": 7}, 1)


def test_the_next_shift_comes_only_after_a_while(worker: Worker) -> None:
    worker.hear(job=50)
    worker.several.shift()
    worker.now_s += 2.9
    worker.hear(env=50)
    worker.several.shift()
    assert worker.counts["job"] == 7
    worker.now_s += 1.7
    worker.several.shift()
    assert worker.counts == {"env": 7, "stage": 1, "job": 1}


def test_an_old_word_moves_nothing(worker: Worker) -> None:
    worker.hear(job=50)
    worker.now_s += DEMAND_BELIEVED_S
    worker.several.shift()
    assert worker.counts["job"] == 3


def test_what_is_bound_to_another_site_attracts_no_slots(worker: Worker) -> None:
    lanes = {"job": LaneDemand(in_flight=0, ready=50, queued=50, sites={"there": 50})}
    worker.several.hear(Demand(scheduler="s", lanes=lanes))
    worker.several.shift()
    assert worker.counts["job"] == 3


def test_a_drained_kind_gets_no_slots_and_gives_its_own(worker: Worker) -> None:
    worker.members["job"].takes_work = False
    worker.hear(job=50)
    worker.several.shift()
    assert worker.counts["job"] == 3
    worker.hear(job=50, env=50)
    worker.several.shift()
    assert worker.counts == {"env": 7, "stage": 1, "job": 1}


def test_bounds_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="at least 11 slots together, of 9"):
        Worker(job=Bounds(9))
    with pytest.raises(InvalidSettings, match="at least 4 slots and at most 2"):
        Worker(job=Bounds(4, 2))


def test_at_random_no_slot_is_lost_or_doubled(worker: Worker) -> None:
    rng = Random(7)
    running: list[tuple[str, Order]] = []
    for _ in range(2_000):
        worker.now_s += rng.random()
        lane = rng.choice(list(LANES))
        slots = worker.members[lane].slots
        if slots.free > 0 and rng.random() < 0.6:
            running.append((lane, worker.begin(lane, rng.randint(1, slots.free))))
        elif running:
            lane, order = running.pop(rng.randrange(len(running)))
            worker.members[lane].slots.release(order)
        worker.hear(**{lane: rng.randint(0, 30) for lane in LANES})
        worker.several.shift()
        assert sum(worker.counts.values()) == BUDGET
        taken = {lane: sum(order.weight for at, order in running if at == lane) for lane in LANES}
        for lane, member in worker.members.items():
            assert member.slots.count - member.slots.free == taken[lane] <= member.slots.count
