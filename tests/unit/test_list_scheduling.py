"""The makespan that a scheduler without overhead reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.list_scheduling import bound_s, list_schedule_s

SECONDS = st.lists(st.floats(0.001, 100), min_size=1, max_size=20)


def test_a_chain_takes_its_length_however_many_slots_there_are() -> None:
    assert list_schedule_s([[], [0], [1]], [1, 2, 3], 8) == 6


def test_the_long_path_goes_first() -> None:
    # one slot would take 10 anyway; on two, the chain of 0 and 1 must not wait for the short ones
    needs: list[list[int]] = [[], [0], [], [], []]
    assert list_schedule_s(needs, [2, 4, 2, 2, 2], 2) == 6
    assert bound_s(needs, [2, 4, 2, 2, 2], 2) == 6


def test_slots_that_free_together_are_given_together() -> None:
    needs: list[list[int]] = [[], [], [0, 1], [0]]
    assert list_schedule_s(needs, [1, 1, 5, 1], 2) == 6


@given(SECONDS, st.integers(1, 8))
def test_independent_tasks_end_within_grahams_bound(seconds: list[float], slots: int) -> None:
    needs: list[list[int]] = [[] for _ in seconds]
    least = bound_s(needs, seconds, slots)
    makespan = list_schedule_s(needs, seconds, slots)
    assert least - 1e-6 <= makespan <= (2 - 1 / slots) * least + 1e-6


@given(SECONDS)
def test_one_slot_takes_the_sum(seconds: list[float]) -> None:
    needs = [[n - 1] if n % 3 else [] for n in range(len(seconds))]
    assert list_schedule_s(needs, seconds, 1) == pytest.approx(sum(seconds))
