"""Which tasks in flight should end in a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from warrener.ids import RunId, TaskRef
from warrener.matching import SOON
from warrener_services.scheduler.endings import Endings, expected_end

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def ref(n: int) -> TaskRef:
    return TaskRef(RunId("0" * 16), n)


@given(
    st.lists(st.floats(0.05, 2), max_size=30),
    st.sets(st.integers(0, 29)),
    st.lists(st.floats(0.001, 0.5), min_size=1, max_size=20),
)
def test_it_counts_what_is_in_flight_and_should_end_about_now(
    seconds: list[float], over: set[int], steps: list[float]
) -> None:
    endings, now = Endings(), NOW
    in_flight = {ref(n) for n in range(len(seconds))}
    for n, lasts in enumerate(seconds):
        endings.expect(ref(n), expected_end(NOW, lasts), in_flight, len(in_flight))
    in_flight -= {ref(n) for n in over}
    for step in steps:
        now += timedelta(seconds=step)
        ends = {ref(n): expected_end(NOW, lasts) for n, lasts in enumerate(seconds)}
        about = [task for task in in_flight if now - SOON <= ends[task] <= now + SOON]
        assert endings.soon(now, in_flight) == len(about)


def test_what_ended_early_does_not_stay_in_memory() -> None:
    endings = Endings()
    for n in range(20_000):
        endings.expect(ref(n), expected_end(NOW, 3600), {ref(n)}, 1)
    assert len(endings) <= 1_002


def test_ten_years_are_within_the_calendar() -> None:
    assert expected_end(NOW, 3650 * 86_400 * 1e9) > NOW
