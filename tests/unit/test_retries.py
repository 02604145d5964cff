"""How long to wait before another try."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from warrener.errors import Cause
from warrener.retries import JITTER, Retry, next_delay, read_duration

SECONDS = st.floats(min_value=0, max_value=1e8)
RETRIES = st.builds(
    Retry,
    count=st.integers(0, 100),
    delay=SECONDS,
    backoff=st.floats(1, 10),
    max_delay=SECONDS,
    on=st.lists(st.sampled_from(Cause), unique=True).map(tuple),
)


@given(RETRIES, st.integers(1, 200), st.sampled_from(Cause), st.integers())
def test_a_delay_is_within_its_jitter_and_never_above_the_longest(retry, failed, cause, seed):
    delay = next_delay(retry, failed, cause, Random(seed))
    if failed > retry.count or cause not in retry.on:
        assert delay is None
        return
    wanted = min(retry.delay.total_seconds() * retry.backoff ** (failed - 1), retry.max_delay.total_seconds())
    assert delay is not None
    assert timedelta(0) <= delay <= retry.max_delay
    assert delay.total_seconds() <= wanted * (1 + JITTER) + 1e-5
    assert delay.total_seconds() >= wanted * (1 - JITTER) - 1e-5


def test_the_first_retry_waits_the_delay_and_the_next_ones_back_off():
    retry = Retry(count=3, delay="10s", backoff=3)
    middle = Random(0)
    middle.uniform = lambda low, high: (low + high) / 2
    delays = [next_delay(retry, failed, Cause.EXIT, middle) for failed in (1, 2, 3, 4)]
    assert delays == [timedelta(seconds=10), timedelta(seconds=30), timedelta(seconds=90), None]


def test_tasks_that_fail_together_do_not_come_back_together():
    retry, rng = Retry(count=1), Random(1)
    assert len({next_delay(retry, 1, Cause.EXIT, rng) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0), (90, 90), (1.5, 1.5), ("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86400),
        ("1h30m", 5400), ("1.5h", 5400), (" 1h 30m ", 5400), (timedelta(minutes=1), 60),
    ],
)  # fmt: skip
def test_durations_are_read_as_people_write_them(written, seconds):
    assert read_duration(written).total_seconds() == seconds


@pytest.mark.parametrize(
    "written", [-1, "-1s", "", "5", "5 parsecs", "s", None, True, [], float("nan"), float("inf"), "9999999d", 10**400]
)
def test_what_is_no_duration_is_refused_with_a_way_to_write_one(written):
    with pytest.raises(ValueError, match="duration"):
        read_duration(written)


@given(st.text(alphabet="0123456789.msdh -", max_size=20))
def test_any_text_is_a_duration_or_a_value_error(text):
    with suppress(ValueError):
        assert read_duration(text) >= timedelta(0)


def test_a_number_is_short_for_a_count():
    assert Retry.model_validate(3) == Retry(count=3)


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"count": 101}, {"count": True}, {"backoff": 0.5}, {"cuont": 1}, True]
)
def test_a_wrong_retry_is_refused(wrong):
    with pytest.raises(ValidationError):
        Retry.model_validate(wrong)


@given(RETRIES)
def test_a_retry_survives_json(retry):
    again = Retry.model_validate_json(retry.model_dump_json(exclude_defaults=True))
    assert again == retry


def test_a_default_retry_takes_no_room():
    assert Retry().model_dump_json(exclude_defaults=True) == "{}"
