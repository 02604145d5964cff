"""How long tasks have taken: followed, without noise, and within bounds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener_services.scheduler import history
from warrener_services.scheduler.history import SHORTEST_S, History

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def unsaved(known: History) -> dict[tuple[str, str], float]:
    return {(row.workflow, row.task): row.mean_s for row in known.unsaved(1_000, NOW)}


def test_the_first_run_time_is_believed() -> None:
    known = History()
    assert known.expected_s("w", "t") is None
    known.learn("w", "t", 8)
    assert known.expected_s("w", "t") == 8
    assert known.expected_s("w", "other") is None


def test_the_mean_follows_what_changes() -> None:
    known = History()
    known.learn("w", "t", 1)
    for _ in range(30):
        known.learn("w", "t", 100)
    assert known.expected_s("w", "t") == pytest.approx(100, rel=0.11)


@given(st.lists(st.floats(0.95, 1.05), min_size=1, max_size=200))
def test_noise_changes_no_order_and_is_not_written(seconds: list[float]) -> None:
    known = History()
    known.learn("w", "t", 1)
    version = known.version("w")
    known.saved(known.unsaved(10, NOW))
    for one in seconds:
        known.learn("w", "t", one)
    assert known.expected_s("w", "t") == 1
    assert known.version("w") == version
    assert not known.has_moved


@given(st.lists(st.floats(0, SHORTEST_S), min_size=1))
def test_all_that_is_short_is_equal(seconds: list[float]) -> None:
    known = History()
    for one in seconds:
        known.learn("w", "t", one)
    assert known.expected_s("w", "t") == SHORTEST_S


def test_what_moved_is_saved_once() -> None:
    known = History()
    known.learn("w", "a", 1)
    known.learn("w", "b", 2)
    assert unsaved(known) == {("w", "a"): 1, ("w", "b"): 2}
    known.saved(known.unsaved(1, NOW))
    assert unsaved(known) == {("w", "b"): 2}


def test_what_the_store_knows_does_not_replace_what_was_seen_since() -> None:
    known = History()
    known.learn("w", "a", 1)
    assert not known.has_read("w")
    known.take_in("w", {"a": 50, "b": 60})
    assert known.has_read("w")
    assert (known.expected_s("w", "a"), known.expected_s("w", "b")) == (1, 60)
    assert unsaved(known) == {("w", "a"): 1}


def test_the_workflows_that_were_not_used_for_long_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_WORKFLOWS", 3)
    known = History()
    for name in ("a", "b", "c"):
        known.learn(name, "t", 1)
    known.has_read("a")
    known.learn("d", "t", 1)
    assert [known.expected_s(name, "t") for name in ("a", "b", "c", "d")] == [1, None, 1, 1]
    assert unsaved(known).keys() == {("a", "t"), ("c", "t"), ("d", "t")}
    assert len(known) == 3


def test_it_is_bounded_by_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_TASKS_OF_ONE", 20)
    monkeypatch.setattr(history, "MAX_TASKS", 50)
    known = History()
    for workflow in range(30):
        known.take_in(f"w{workflow}", {f"t{task}": 1.0 for task in range(15)})
        for task in range(100):
            known.learn(f"w{workflow}", f"t{task}", 1)
    assert len(known) == 40
    assert len(known._moved) <= 50
