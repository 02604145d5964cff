"""What a scheduler does at once after a restart, of a worker or of everything, instead of waiting for time to pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from desk import Desk, Hand, at_once, call, job
from warrener.messages import EndedLife, Grant, Heartbeat, Kind, LostLane
from warrener.states import State
from warrener.store import TaskRow
from warrener_services.scheduler.lost import Lost

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


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


def lost_beat(hand: Hand, lane: str, ago_s: float = 0.0) -> Heartbeat:
    return hand.beat().model_copy(update={"lost": [LostLane(lane=lane, ago_s=ago_s)]})


def test_orders_are_placed_anew_when_a_worker_says_that_their_queue_is_gone_and_others_are_not(desk: Desk) -> None:
    caller, jobber = Hand("call-a"), Hand("job-a", Kind.JOB)
    desk.hire(caller, jobber)
    lost, other = desk.submit({"t": call()}), desk.submit({"t": job()})
    desk.wait(seconds=1)
    desk.deliver(lost_beat(caller, desk.task(lost).lane))
    assert (desk.task(lost).state, desk.task(lost).attempt, desk.task(lost).tries) == (State.ORDERED, 2, 0)
    assert desk.task(other).attempt == 1


def test_a_queue_that_is_told_of_again_recalls_nothing_that_was_ordered_since(desk: Desk) -> None:
    caller = Hand("call-a")
    desk.hire(caller)
    run = desk.submit({"t": call()})
    desk.wait(seconds=1)
    desk.deliver(lost_beat(caller, desk.task(run).lane))
    desk.wait(seconds=5)
    desk.deliver(lost_beat(caller, desk.task(run).lane, ago_s=5.0))
    assert (desk.task(run).state, desk.task(run).attempt) == (State.ORDERED, 2)


def test_what_was_sent_to_a_queue_of_reports_that_is_gone_is_ordered_anew_and_what_runs_is_not(desk: Desk) -> None:
    caller, jobber = Hand("call-a"), Hand("job-a", Kind.JOB)
    desk.hire(caller, jobber)
    at_work, _ = running(desk, jobber)
    runs = [desk.submit({"t": call()}) for _ in range(3)]
    desk.wait(seconds=1)
    for shard in range(1024):
        desk.engine.lose(f"reports.{shard}", desk.now)
    desk.wait(seconds=1)
    assert [desk.task(run).attempt for run in runs] == [2, 2, 2]
    assert (desk.task(at_work).state, desk.task(at_work).attempt) == (State.RUNNING, 1)


def test_many_lost_orders_are_placed_anew_a_part_at_a_time() -> None:
    lost, rows = Lost(), [lost_row(n) for n in range(1_200)]
    lost.add("orders.job", NOW + timedelta(seconds=1))
    assert [len(lost.take(rows, 500)) for _ in range(3)] == [500, 500, 200]
    assert not lost


def lost_row(n: int) -> TaskRow:
    return cast("TaskRow", SimpleNamespace(
        ref=(f"r{n}", 0), attempt=1, state=State.ORDERED, ordered_at=NOW, lane="job", worker=None, shard=0
    ))  # fmt: skip


def test_a_book_that_is_read_again_and_again_lets_no_order_stand_for_ever(desk: Desk) -> None:
    desk.hire(Hand("call-a"))
    run = desk.submit({"t": call()})
    for _ in range(30):
        desk.own()
        desk.wait(seconds=7)
        desk.deliver(Hand("call-a").beat())
    assert desk.task(run).attempt > 2


def test_what_was_recalled_and_not_written_is_recalled_again(desk: Desk) -> None:
    desk.hire(Hand("call-a"))
    run = desk.submit({"t": call()})
    desk.wait(seconds=1)
    desk.engine.lose(f"orders.{desk.task(run).lane}", desk.now)
    desk.engine.book.lost.take(desk.engine.book.in_flight.values(), 10)  # by a tick that was not committed
    desk.own()
    desk.wait(seconds=1)
    assert desk.task(run).attempt == 2
