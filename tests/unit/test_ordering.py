"""Who goes first: priority, then deadline, then age; and nobody waits for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from warrener.ids import RunId
from warrener.ordering import BOTTOM, STEP, TOP, Turn, aged_level, level_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PRIORITIES = st.integers(0, 9)
WAITS = st.timedeltas(timedelta(0), timedelta(days=400))


def test_the_highest_priority_stands_on_the_top_level() -> None:
    assert level_of(9) == TOP
    assert level_of(0) == BOTTOM


def test_level_goes_before_deadline_before_age_before_number() -> None:
    run, later = RunId("a" * 16), NOW + timedelta(hours=1)
    turns = [
        Turn(0, later, 0, later, run, 9),
        Turn(1, NOW, 0, later, run, 0),
        Turn(1, later, -30, later, run, 7),
        Turn(1, later, -20, NOW, run, 5),
        Turn(1, later, -20, later, run, 1),
        Turn(1, later, -20, later, run, 2),
    ]
    assert sorted({*turns}) == turns


@given(PRIORITIES, WAITS)
def test_waiting_only_lifts(priority: int, waited: timedelta) -> None:
    assert TOP <= aged_level(priority, waited) <= level_of(priority)
    assert aged_level(priority, waited + STEP) == max(TOP, aged_level(priority, waited) - 1)


@given(PRIORITIES)
def test_everybody_reaches_the_top_in_time(priority: int) -> None:
    assert aged_level(priority, STEP * (9 - priority)) == TOP


def test_a_clock_that_went_back_does_not_lower() -> None:
    assert aged_level(4, timedelta(hours=-5)) == level_of(4)
