"""What a scheduler does at once after a restart, of a worker or of everything, instead of waiting for time to pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from desk import Desk, Hand, call, job
from warrener.messages import Grant, Heartbeat, Kind
from warrener.states import State


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    try:
        yield desk
        desk.check()
    finally:
        desk.close()


def running(desk: Desk, hand: Hand) -> tuple[str, Grant]:
    run = desk.submit({"t": job()})
    desk.deliver(hand.claim(desk.orders[-1]))
    return run, hand.grants[-1]


def first_beat(hand: Hand, *held: Grant) -> Heartbeat:
    return hand.beat(*held).model_copy(update={"seq": 1, "whole": True})


def test_what_the_earlier_life_held_and_the_new_one_did_not_take_back_is_placed_anew_at_once(desk: Desk) -> None:
    old, new = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-a", Kind.JOB, boot="b2")
    desk.hire(old)
    lost, _ = running(desk, old)
    kept, grant = running(desk, old)
    desk.deliver(first_beat(new, grant))
    assert (desk.task(lost).attempt, desk.task(lost).tries) == (2, 0)
    assert (desk.task(kept).state, desk.task(kept).attempt) == (State.RUNNING, 1)


def test_a_heartbeat_that_does_not_list_all_gives_up_nothing(desk: Desk) -> None:
    old, new = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-a", Kind.JOB, boot="b2")
    desk.hire(old)
    run, _ = running(desk, old)
    desk.deliver(new.beat())
    assert (desk.task(run).state, desk.task(run).attempt) == (State.RUNNING, 1)


def test_the_late_heartbeat_of_an_earlier_life_gives_up_nothing(desk: Desk) -> None:
    old, new = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-a", Kind.JOB, boot="b2")
    desk.hire(old, new)
    run, _ = running(desk, new)
    desk.deliver(first_beat(old))
    assert (desk.task(run).state, desk.task(run).attempt) == (State.RUNNING, 1)


def test_orders_that_went_with_their_broker_are_placed_anew_at_once(desk: Desk) -> None:
    caller = Hand("call-a")
    desk.hire(caller)
    run = desk.submit({"t": call()})
    assert desk.task(run).state is State.ORDERED
    desk.crash()
    desk.do(lambda tx: desk.engine.recall(tx, desk.now))
    assert desk.task(run).state is State.READY
    desk.hire(caller)
    assert (desk.task(run).state, desk.task(run).attempt, desk.task(run).tries) == (State.ORDERED, 2, 0)
