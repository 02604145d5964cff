"""The penalty box: less work, then none, then a probe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from warrener.penalties import FIRST, LAPSE, LONGEST, Penalty, clear, slots_left, strike

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def struck(times: int, *, at: datetime = START, known: Penalty | None = None) -> Penalty:
    for _ in range(times):
        known = strike(known, "node7", "its disk is full", at)
    assert known is not None
    return known


def test_one_strike_costs_nothing() -> None:
    assert slots_left(struck(1), 8, START, alone=False) is None


def test_two_strikes_cost_half_of_the_slots() -> None:
    assert slots_left(struck(2), 8, START, alone=False) == 4
    assert slots_left(struck(2), 1, START, alone=False) == 1


def test_three_strikes_put_a_host_in_quarantine_with_the_reason() -> None:
    penalty = struck(3)
    assert penalty.quarantined(START)
    assert slots_left(penalty, 8, START, alone=False) == 0
    assert penalty.reason == "its disk is full"


def test_a_host_that_is_alone_with_its_work_keeps_one_slot() -> None:
    assert slots_left(struck(3), 8, START, alone=True) == 1


def test_after_the_quarantine_one_task_at_a_time_is_let_through() -> None:
    penalty = struck(3)
    assert slots_left(penalty, 8, START + FIRST, alone=False) == 1


def test_a_probe_that_goes_well_clears_the_host() -> None:
    penalty = struck(3)
    assert clear(penalty, START + SECOND) is penalty, "what began before does not end the quarantine"
    assert clear(penalty, START + FIRST) is None


def test_a_probe_that_fails_brings_a_longer_quarantine() -> None:
    again = struck(1, at=START + FIRST, known=struck(3))
    assert again.until == START + FIRST + 2 * FIRST


def test_trouble_in_quarantine_does_not_make_it_longer() -> None:
    penalty = struck(3)
    assert struck(5, at=START + SECOND, known=penalty) == penalty


def test_old_trouble_counts_no_more() -> None:
    penalty = struck(2)
    assert slots_left(penalty, 8, START + LAPSE, alone=False) is None
    assert struck(1, at=START + LAPSE, known=penalty).strikes == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 700)), max_size=50), st.integers(1, 64))
def test_no_quarantine_is_longer_than_the_longest(steps: list[tuple[bool, int]], slots: int) -> None:
    penalty: Penalty | None = None
    now = START
    for trouble, pause_s in steps:
        now += timedelta(seconds=pause_s)
        penalty = strike(penalty, "node7", "why", now) if trouble else penalty and clear(penalty, now)
        if penalty is not None:
            left = slots_left(penalty, slots, now, alone=False)
            assert left is None or 0 <= left <= slots
            assert penalty.until is None or penalty.until - now <= LONGEST
