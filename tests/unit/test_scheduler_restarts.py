"""What a scheduler does at once after a restart, of a worker or of everything, instead of waiting for time to pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from desk import Desk, Hand, at_once, call, job
from warrener.messages import EndedLife, Grant, Heartbeat, Kind
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


def first_beat(hand: Hand, *held: Grant, proof: Grant, boot: str) -> Heartbeat:
    life = EndedLife(run=proof.run, n=proof.n, attempt=proof.attempt, boot=boot, token=proof.token)
    return hand.beat(*held).model_copy(update={"seq": 1, "ended": [life]})


def test_what_the_earlier_life_held_and_the_new_one_did_not_take_back_is_placed_anew_at_once(desk: Desk) -> None:
    old, new = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-a", Kind.JOB, boot="b2")
    desk.hire(old)
    lost, _ = running(desk, old)
    kept, grant = running(desk, old)
    desk.deliver(first_beat(new, grant, proof=grant, boot="b1"))
    assert (desk.task(lost).attempt, desk.task(lost).tries) == (2, 0)
    assert (desk.task(kept).state, desk.task(kept).attempt) == (State.RUNNING, 1)


def test_a_heartbeat_that_ends_no_life_gives_up_nothing(desk: Desk) -> None:
    old, new = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-a", Kind.JOB, boot="b2")
    desk.hire(old)
    run, _ = running(desk, old)
    desk.deliver(new.beat())
    assert (desk.task(run).state, desk.task(run).attempt) == (State.RUNNING, 1)


def test_the_word_of_an_earlier_life_does_not_end_a_later_one(desk: Desk) -> None:
    old, new = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-a", Kind.JOB, boot="b2")
    desk.hire(old)
    _, proof = running(desk, old)
    desk.hire(new)
    run, _ = running(desk, new)
    desk.deliver(first_beat(old, proof=proof, boot="b1"))
    assert (desk.task(run).state, desk.task(run).attempt) == (State.RUNNING, 1)


@pytest.mark.parametrize("thief", ["job-a", "job-z"])
def test_a_life_is_not_ended_by_whoever_says_so(desk: Desk, thief: str) -> None:
    old, other = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-z", Kind.JOB, boot="b9")
    desk.hire(old)
    run, _ = running(desk, old)
    desk.hire(other)
    _, own = running(desk, other)
    liar = Hand(thief, Kind.JOB, boot="b7")
    desk.deliver(first_beat(liar, proof=own, boot="b1"))
    assert (desk.task(run).state, desk.task(run).attempt) == (State.RUNNING, 1)


def test_what_a_stopping_worker_could_not_finish_is_placed_anew_at_once(desk: Desk) -> None:
    old, other = Hand("job-a", Kind.JOB, boot="b1"), Hand("job-b", Kind.JOB, boot="b2")
    desk.hire(old)
    run, grant = running(desk, old)
    desk.hire(other)
    last = first_beat(old, proof=grant, boot="b1").model_copy(update={"state": "leaving"})
    desk.deliver(last)
    assert (desk.task(run).state, desk.task(run).attempt, desk.task(run).tries) == (State.ORDERED, 2, 0)


def test_orders_that_went_with_their_broker_are_placed_anew_at_once(desk: Desk) -> None:
    caller = Hand("call-a")
    desk.hire(caller)
    run = desk.submit({"t": call()})
    assert desk.task(run).state is State.ORDERED
    desk.crash()
    at_once(desk.store.apply(lambda tx: desk.engine.recall(tx, desk.now)))
    assert desk.task(run).state is State.READY
    desk.hire(caller)
    assert (desk.task(run).state, desk.task(run).attempt, desk.task(run).tries) == (State.ORDERED, 2, 0)


def test_a_grant_told_again_begins_the_lease_again(desk: Desk) -> None:
    worker = Hand("job-a", Kind.JOB)
    desk.hire(worker)
    run, grant = running(desk, worker)
    desk.wait(seconds=25)
    desk.deliver(worker.claim(grant))  # the first answer got lost; the worker will count from this claim
    desk.wait(seconds=25)
    assert (desk.task(run).state, desk.task(run).attempt) == (State.RUNNING, 1)
