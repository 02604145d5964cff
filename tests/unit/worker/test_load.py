"""How many slots a worker withholds for the load of its host."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.worker.load import Sample, Thresholds, Withholding, share_withheld

THRESHOLDS = Thresholds(load_from=3.0, load_full=8.0, memory_from=0.08, memory_full=0.03)
CORES = 4


def samples(withholding: Withholding, *, load: float, seconds: int, since: int = 0, **more: float) -> list[int]:
    """Look once a second at a host with so many runnable threads per core; return what is withheld each time."""
    slots, taken = int(more.get("slots", 8)), int(more.get("taken", 0))
    sample = Sample(runnable=load * CORES + min(taken, CORES), cores=CORES, memory_free=more.get("free", 0.5))
    return [withholding.look(sample, slots=slots, taken=taken, now_s=since + n) for n in range(1, seconds + 1)]


def loaded(**more: float) -> Withholding:
    withholding = Withholding(THRESHOLDS)
    assert samples(withholding, load=50, seconds=30, **more)[-1] == more.get("slots", 8)
    return withholding


def test_an_idle_host_withholds_nothing() -> None:
    assert set(samples(Withholding(THRESHOLDS), load=0, seconds=60)) == {0}


def test_a_host_with_a_thread_or_two_for_each_core_withholds_nothing() -> None:
    assert set(samples(Withholding(THRESHOLDS), load=2.9, seconds=600)) == {0}


def test_a_host_that_is_far_too_busy_leaves_no_slot_within_seconds() -> None:
    assert samples(Withholding(THRESHOLDS), load=16, seconds=6)[-1] == 8


def test_a_burst_of_a_second_withholds_nothing() -> None:
    withholding = Withholding(THRESHOLDS)
    samples(withholding, load=0, seconds=10)
    assert samples(withholding, load=12, seconds=1, since=10) == [0]


def test_own_tasks_do_not_count_against_a_worker() -> None:
    assert set(samples(Withholding(THRESHOLDS), load=0, seconds=600, taken=8)) == {0}


def test_too_little_memory_leaves_no_slot_at_once() -> None:
    assert samples(Withholding(THRESHOLDS), load=0, seconds=1, free=0.02) == [8]


def test_slots_come_back_one_part_after_another_and_in_the_end_all() -> None:
    back = samples(loaded(), load=0, seconds=60, since=30)
    assert back[3] == 8, "not at once"
    assert back[-1] == 0
    assert max(before - after for before, after in pairwise(back)) <= 2


@given(st.floats(3.5, 7.5), st.integers(0, 2**32))
def test_a_load_that_swings_a_little_does_not_make_slots_flap(load: float, seed: int) -> None:
    withholding = Withholding(THRESHOLDS)
    samples(withholding, load=load, seconds=60)
    seen = []
    for n in range(300):
        swing = 1 + 0.08 * (-1 if (seed >> (n % 32)) & 1 else 1)
        seen += samples(withholding, load=load * swing, seconds=1, since=60 + n)
    assert seen == sorted(seen), "it may still rise to the highest of the swings, and stays there"


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(0, 1), st.integers(0, 300)), max_size=60), st.integers(1, 64))
def test_never_more_than_there_is_and_in_the_end_nothing(looks: list[tuple[float, float, int]], slots: int) -> None:
    withholding = Withholding(THRESHOLDS)
    for second, (runnable, free, taken) in enumerate(looks):
        sample = Sample(runnable, CORES, free)
        assert 0 <= withholding.look(sample, slots=slots, taken=taken, now_s=second) <= slots
    assert samples(withholding, load=0, seconds=90, since=len(looks), slots=slots)[-1] == 0


@given(st.floats(0, 20), st.floats(0, 20), st.floats(0, 1), st.floats(0, 1))
def test_more_load_and_less_memory_never_withhold_less(low: float, high: float, little: float, much: float) -> None:
    low, high, little, much = min(low, high), max(low, high), min(little, much), max(little, much)
    assert share_withheld(low, much, THRESHOLDS) <= share_withheld(high, little, THRESHOLDS)


@pytest.mark.parametrize("free", [0.5, 0.09])
def test_enough_memory_withholds_nothing(free: float) -> None:
    assert share_withheld(0, free, THRESHOLDS) == 0
