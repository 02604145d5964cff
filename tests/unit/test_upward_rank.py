"""The longest expected path from a task to the end of its run."""

from __future__ import annotations

import math
import time

from hypothesis import given
from hypothesis import strategies as st

from warrener.upward_rank import upward_ranks


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[float]]:
    """Draw tasks without circles, in no order that says which comes first."""
    count = draw(st.integers(0, 12))
    place = draw(st.permutations(range(count)))
    needs: list[list[int]] = [[] for _ in range(count)]
    for late in range(count):
        earlier = draw(st.sets(st.integers(0, late - 1))) if late else set()
        needs[place[late]] = sorted(place[early] for early in earlier)
    return needs, draw(st.lists(st.floats(0, 1e6), min_size=count, max_size=count))


def naive(needs: list[list[int]], expected_s: list[float], task: int) -> float:
    """Try every path."""
    successors = [other for other, own in enumerate(needs) if task in own]
    return expected_s[task] + max((naive(needs, expected_s, other) for other in successors), default=0.0)


@given(graphs())
def test_a_rank_is_the_longest_of_all_paths(graph: tuple[list[list[int]], list[float]]) -> None:
    needs, expected_s = graph
    for task, rank in enumerate(upward_ranks(needs, expected_s)):
        assert math.isclose(rank, naive(needs, expected_s, task), rel_tol=1e-12)


@given(graphs())
def test_what_is_needed_never_goes_after_what_needs_it(graph: tuple[list[list[int]], list[float]]) -> None:
    needs, expected_s = graph
    ranks = upward_ranks(needs, expected_s)
    assert all(ranks[upstream] >= ranks[task] for task, own in enumerate(needs) for upstream in own)


def test_a_diamond_goes_by_its_longer_side() -> None:
    assert upward_ranks([[], [0], [0], [1, 2]], [1, 5, 2, 10]) == [16, 15, 12, 10]


def test_a_deep_and_wide_run_takes_time_in_proportion() -> None:
    layers, wide = 100, 30
    needs = [list(range((n // wide - 1) * wide, n // wide * wide)) if n >= wide else [] for n in range(layers * wide)]
    begun = time.process_time()
    ranks = upward_ranks(needs, [1.0] * len(needs))
    assert time.process_time() - begun < 5  # 90,000 needs; paths there are 30^99
    assert ranks[0] == layers
