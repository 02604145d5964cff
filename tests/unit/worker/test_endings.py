"""Endings travel, whatever came out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owner import Owner
from warrener.errors import Cause, TaskFailed
from warrener.messages import Outcome, Reports, decode, encode
from warrener.worker.endings import MAX_MESSAGE, Ending, failed_by, succeeded


def travelled(ending: Ending) -> Any:
    """Send an ending as the scheduler will receive it."""
    report = ending.report(Owner().make().ref, "0" * 32)
    raw = encode(Reports(worker="w1", boot="b", reports=[report]))  # type: ignore[arg-type]
    assert len(raw) <= ending.bytes + 200
    return decode(Reports.KIND, raw, Reports).reports[0]


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_every_json_output_arrives_as_it_was(value: Any) -> None:
    report = travelled(succeeded(value, 1.0))
    assert report.outcome is Outcome.SUCCEEDED
    assert report.output == value


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, float("inf"), "\ud800", {("a",): 1}, nested(150), nested(10_000), b"bytes", [10**5000]],
    ids=lambda value: type(value).__name__,
)
def test_an_output_that_is_not_json_fails_with_a_sentence(value: Any) -> None:
    report = travelled(succeeded(value, 1.0))
    if value == nested(150):
        assert report.output == value
        return
    assert (report.outcome, report.cause) == (Outcome.FAILED, Cause.ERROR)
    assert "not JSON" in report.message


def test_tuples_arrive_as_lists() -> None:
    assert travelled(succeeded((1, (2, 3)), 0)).output == [1, [2, 3]]


@given(st.text(st.characters(codec=None), max_size=50).map(lambda text: text * 500))
def test_every_message_arrives_cleaned_and_cut(text: str) -> None:
    report = travelled(failed_by(TaskFailed(Cause.ENV, text, exit_code=2), 1.0))
    assert (report.cause, report.exit_code) == (Cause.ENV, 2)
    assert len(report.message) <= MAX_MESSAGE
    assert "\0" not in report.message


def test_a_deep_traceback_is_cut_to_its_end() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("x" * 100_000)
        deep(n - 1)

    with pytest.raises(ValueError) as caught:
        deep(200)
    report = travelled(failed_by(caught.value, 1.0))
    assert report.message.startswith("ValueError: xxx")
    assert "raise ValueError" in report.message
    assert len(report.message) <= MAX_MESSAGE
