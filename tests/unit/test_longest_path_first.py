"""Ready tasks of equal priority go by the longest expected path to the end of their run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from desk import Desk, Hand, call, job
from warrener.ids import RunId
from warrener.messages import Kind, RunRequest
from warrener_services.scheduler import paths

PATHS = {  # what is said first is the shortest
    "short": call(expect=2),
    "chain": call(expect=1),
    "middle": call(expect=3),
    "end": call(needs=["chain"], expect="9s"),
}


def finished_one_by_one(desk: Desk, seconds: float = 0.0) -> list[str]:
    """Let one slot work everything off; return the names in the order in which they were ordered."""
    (hand,) = desk.hands.values()
    done = 0
    while done < len(desk.orders):
        desk.now += timedelta(seconds=1)
        desk.deliver(hand.report(desk.orders[done], seconds=seconds), hand.beat())
        done += 1
    return [order.task_name for order in desk.orders]


def paths_of(desk: Desk, run: RunId) -> dict[str, float]:
    return {row.name: -row.minus_path_s for row in desk.do(lambda tx: tx.tasks.of_run(run))}


def test_the_longest_path_goes_first(desk: Desk) -> None:
    run = desk.submit(PATHS)
    desk.hire(Hand("call-a", slots=1))
    assert finished_one_by_one(desk) == ["chain", "end", "middle", "short"]
    assert paths_of(desk, run) == {"short": 2, "chain": 10, "middle": 3, "end": 9}


def test_the_longest_path_goes_first_also_out_of_the_store(desk: Desk) -> None:
    desk.submit(PATHS)
    desk.submit({"longest": call(expect=20), "least": call(expect=0)})
    desk.crash()
    assert desk.engine.book.ready == {}
    desk.hire(Hand("call-a", slots=1))
    assert finished_one_by_one(desk) == ["longest", "chain", "end", "middle", "short", "least"]


def test_priority_and_deadline_go_before_the_path(desk: Desk) -> None:
    desk.submit({"long": call(expect="1h"), "soon": call(deadline="1h", expect=1), "high": call(priority=5, expect=1)})
    desk.hire(Hand("call-a", slots=1))
    assert finished_one_by_one(desk) == ["high", "soon", "long"]


def test_of_equal_paths_the_older_goes_first(desk: Desk) -> None:
    desk.submit({"old": call()})
    desk.now += timedelta(seconds=1)
    desk.submit({"new": call()})
    desk.hire(Hand("call-a", slots=1))
    assert finished_one_by_one(desk) == ["old", "new"]


# ── what is expected ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_nobody_knows_takes_a_second(desk: Desk) -> None:
    assert paths_of(desk, desk.submit({"a": call(), "b": call(needs=["a"]), "c": call(expect=5)})) == {
        "a": 2, "b": 1, "c": 5,
    }  # fmt: skip


UNSAID: dict[str, Any] = {"a": call(), "b": call(), "said": call(expect=7)}


def learned(desk: Desk, **seconds: float) -> None:
    """Let a run go through whose tasks take so long."""
    begun = len(desk.orders)
    desk.submit(UNSAID)
    for order in desk.orders[begun:]:
        desk.deliver(desk.hands["call-a"].report(order, seconds=seconds[order.task_name]))


def test_what_ran_before_is_expected_to_take_as_long_again(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4))
    learned(desk, a=40, b=0.5, said=100)
    assert paths_of(desk, desk.submit(UNSAID)) == {"a": 40, "b": 0.5, "said": 7}


def test_what_was_learned_outlives_the_scheduler(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4))
    learned(desk, a=40, b=0.5, said=100)
    assert desk.engine.book.history.has_moved
    desk.do(lambda tx: desk.engine.keep_run_times(tx, desk.now))
    assert not desk.engine.book.history.has_moved
    desk.crash()
    assert paths_of(desk, desk.submit(UNSAID)) == {"a": 40, "b": 0.5, "said": 7}


def test_an_owner_that_begins_anew_still_knows(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4))
    learned(desk, a=40, b=0.5, said=100)
    desk.own()
    assert paths_of(desk, desk.submit(UNSAID))["a"] == 40


def test_a_failure_teaches_nothing(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4))
    desk.submit({"a": call()})
    desk.deliver(desk.hands["call-a"].report(desk.take_order(), "failed", seconds=99, cause="error"))
    assert len(desk.engine.book.history) == 0


def test_paths_are_computed_again_only_when_expectations_change(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    real = paths.upward_ranks

    def counted(needs: Any, expected_s: Any) -> list[float]:
        computed.append(len(needs))
        return real(needs, expected_s)

    monkeypatch.setattr(paths, "upward_ranks", counted)
    desk.hire(Hand("call-a", slots=100))
    desk.submit(UNSAID, *(RunRequest(key=f"r{n}") for n in range(20)))
    assert computed == [3]
    learned(desk, a=40, b=0.5, said=100)
    desk.submit(UNSAID)
    assert computed == [3, 3]
    desk.submit(PATHS)
    desk.submit(PATHS)
    assert computed == [3, 3, 4]


# ── long tasks wait at the scheduler ─────────────────────────────────────────────────────────────────────────


def test_what_is_expected_to_be_long_travels_alone(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=100))
    desk.submit({f"t{n}": call(expect="50ms" if n < 40 else "49ms") for n in range(100)})
    sizes = {name: len(names) for _, names, _ in desk.routes for name in names}
    assert {sizes[f"t{n}"] for n in range(40)} == {1}
    assert {sizes[f"t{n}"] for n in range(40, 100)} == {30}


def test_what_was_seen_to_be_long_travels_alone(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=100))
    tasks = {f"t{n}": call() for n in range(50)}
    desk.submit(tasks)
    desk.deliver(*(desk.hands["call-a"].report(order, seconds=0.001 if order.n else 60) for order in desk.orders))
    desk.engine.book.lanes["call.demo"].mean_s = 0.001  # as if by a thousand other calls
    desk.routes.clear()
    desk.submit(tasks)
    assert ["t0"] in [names for _, names, _ in desk.routes]
    assert max(len(names) for _, names, _ in desk.routes) > 1


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.JOB])
def test_a_long_task_is_ordered_when_a_slot_is_free_and_not_before(desk: Desk, kind: Kind) -> None:
    hand = Hand("worker", kind, slots=2)
    desk.hire(hand)
    make = call if kind is Kind.CALL else job
    desk.submit({f"t{n}": make(expect="1h") for n in range(9)})
    for done in range(3):
        assert len(desk.orders) == 2 + done
        order = desk.orders[done]
        desk.deliver(hand.report(desk.grant(hand, order), seconds=3600))
    desk.submit({"urgent": make(priority=9, expect="1h")})
    desk.deliver(hand.report(desk.grant(hand, desk.orders[3]), seconds=3600))
    assert desk.orders[-1].task_name == "urgent"


@pytest.mark.parametrize(("after_s", "ahead"), [(0.96, 1), (0.5, 0), (5, 0)])
def test_a_long_task_goes_ahead_when_another_should_be_about_to_end(desk: Desk, after_s: float, ahead: int) -> None:
    desk.hire(Hand("call-a", slots=2))
    desk.submit({f"t{n}": call(expect=1) for n in range(9)})
    desk.now += timedelta(seconds=after_s)
    desk.deliver(desk.hands["call-a"].report(desk.orders[0], seconds=after_s))
    assert len(desk.orders) == 3 + ahead
