"""The best of the ready: always popped in their order, however many there are, and never many in memory."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from warrener.ids import RunId, TaskRef
from warrener.states import State
from warrener.store import TaskRow
from warrener.stores.tables import NEVER
from warrener_services.scheduler.window import Window, turn_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CAPACITY = 4


def ready(n: int, level: int = 5, age: int = 0) -> TaskRow:
    return TaskRow(
        run=RunId("0" * 16), n=n, shard=0, name="t", kind="job", lane="job", workflow="w", section="{}",
        templated=False, policy="{}", priority=4, weight=1, deadline_at=NEVER, fanout=0, state=State.READY, unmet=0,
        level=level, ready_at=NOW - timedelta(seconds=age),
    )  # fmt: skip


def drained(window: Window) -> list[int]:
    return [row.n for row in iter(window.pop, None)]


def test_the_best_goes_first() -> None:
    window = Window()
    for row in (ready(1, level=5), ready(2, level=0), ready(3, level=5, age=9)):
        assert window.push(row) == []
    assert drained(window) == [2, 3, 1]
    assert window.pop() is None


def test_a_row_moves_to_its_new_turn() -> None:
    window, row = Window(), ready(1, level=9)
    window.push(row)
    window.push(ready(2, level=5))
    row.level = 0
    window.push(row)
    assert len(window) == 2
    assert drained(window) == [1, 2]


def test_two_rows_of_one_task_with_one_turn_are_one() -> None:
    window = Window()
    window.push(ready(1))
    window.discard(TaskRef(RunId("0" * 16), 1))
    window.push(ready(1))
    window.push(ready(1))
    assert drained(window) == [1]


def test_what_is_not_ready_any_more_is_left_out() -> None:
    window, row = Window(), ready(1)
    window.push(row)
    row.state = State.CANCELLED
    assert window.pop() is None
    assert len(window) == 0


def test_what_was_put_back_comes_again() -> None:
    window = Window()
    for n in range(3):
        window.push(ready(n, level=n))
    first = window.pop()
    assert first is not None
    window.put_back([first])
    assert drained(window) == [0, 1, 2]


def test_discarded_rows_do_not_stay_in_memory() -> None:
    window = Window(CAPACITY)
    for n in range(1_000):
        row = ready(n)
        window.push(row)
        window.discard(row.ref)
    assert len(window._heap) <= 4 * CAPACITY + 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 9), st.integers(0, 5)),
        st.tuples(st.just("pop"), st.just(0), st.just(0)),
        st.tuples(st.just("lift"), st.integers(0, 30), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("put back"), st.just(0), st.just(0)),
    ),
    max_size=120,
)


@given(STEPS)
def test_a_window_over_a_store_pops_like_one_sorted_list(steps: list[tuple[Any, int, int]]) -> None:
    store: dict[TaskRef, TaskRow] = {}
    numbers = itertools.count()
    window = Window(CAPACITY)

    def refilled() -> None:
        if window.low:
            best = sorted(store.values(), key=turn_of)[:CAPACITY]
            before = set(window._rows)
            gone = window.refill(best, CAPACITY)
            assert {row.ref for row in gone} == before - {row.ref for row in best}

    def pushed(row: TaskRow) -> None:
        for spilled in window.push(row):
            assert spilled.ref not in window

    for what, one, two in steps:
        refilled()
        rows = list(store.values())
        match what:
            case "add":
                row = ready(next(numbers), one, two)
                store[row.ref] = row
                pushed(row)
            case "pop" | "put back":
                popped = window.pop()
                first = min(rows, key=turn_of, default=None)
                assert popped is first
                if popped is not None and what == "pop":
                    del store[popped.ref]
                elif popped is not None:
                    window.put_back([popped])
            case "lift" if rows:
                row = rows[one % len(rows)]
                row.level = min(row.level, two)
                pushed(row)
            case "drop" if rows:
                row = rows[one % len(rows)]
                del store[row.ref]
                window.discard(row.ref)
        assert len(window) <= 2 * CAPACITY + 1
        assert len(window._heap) <= 4 * CAPACITY + 1
        assert all(ref in store for ref in window._rows)
