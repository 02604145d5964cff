"""What a scheduler does with every message and every moment, without broker and event loop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import ValidationError

from desk import ORDER_TIMEOUT, Desk, Hand, call, job
from warrener.broker import MAX_BODY_BYTES
from warrener.errors import Cause, Fenced
from warrener.ids import TaskRef
from warrener.messages import (
    CancelRuns,
    Kind,
    LogChunk,
    Logs,
    Members,
    MemberSeen,
    Outcome,
    RunRequest,
    Wake,
    encode,
)  # fmt: skip
from warrener.runs import RunState
from warrener.states import State
from warrener.store import Changes, Transaction
from warrener.submission import definition_row, make_run
from warrener.workflows import Definition
from warrener_services.scheduler import engine


@pytest.fixture
def worker(desk: Desk) -> Hand:
    hand = Hand("job-a", Kind.JOB)
    desk.hire(hand)
    return hand


def final_events(desk: Desk, run: str) -> list[str]:
    return [event.state for event in desk.events if event.run == run and event.n is None]


# ── submissions ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_key_is_the_same_run(desk: Desk) -> None:
    first = desk.submit({"a": call()}, RunRequest(key="one"))
    again = desk.reply(desk.ask({"a": call()}, RunRequest(key="one"), RunRequest(key="two")))
    assert [(result.run == first, result.new) for result in again.results] == [(True, False), (False, True)]
    assert len(desk.all_runs()) == 2


def test_the_same_key_twice_in_a_tick_is_one_run(desk: Desk) -> None:
    submit = desk.ask({"a": call()}, RunRequest(key="one"), RunRequest(key="one"))
    desk.deliver(submit, submit)
    assert len(desk.all_runs()) == 1


def test_a_submission_delivered_twice_is_one(desk: Desk) -> None:
    delivery = desk.delivery(desk.ask({"a": call()}))
    desk.deliver(delivery, delivery)
    desk.deliver(delivery)
    assert len(desk.all_runs()) == 1


def test_messages_without_an_id_are_not_taken_for_one_another(desk: Desk) -> None:
    desk.deliver(desk.delivery(desk.ask({"a": call()}), message_id=""))
    desk.deliver(desk.delivery(desk.ask({"a": call()}), message_id=""))
    assert len(desk.all_runs()) == 2


def test_a_wrong_workflow_is_answered_with_its_problems(desk: Desk) -> None:
    answer = desk.reply(desk.ask({"a": {"call": {}}}, RunRequest(key="one")))
    assert answer.results[0].run is None
    assert answer.results[0].problems
    assert desk.all_runs() == []


def test_a_submission_without_proof_is_parked(desk: Desk) -> None:
    desk.deliver(desk.delivery(desk.ask({"a": call()}), headers={}))
    assert desk.all_runs() == []
    assert "submit.key" in desk.do(lambda tx: tx.notes.parked(10))[0].reason


@pytest.mark.parametrize(("kind", "raw"), [("submit/1", b"\xff"), ("submit/2", b"{}"), ("what/1", b"{}"), ("", b"")])
def test_what_cannot_be_read_is_parked_and_hurts_nobody(desk: Desk, kind: str, raw: bytes) -> None:
    desk.deliver(desk.delivery(raw, kind=kind or " "), desk.delivery(desk.ask({"a": call()})))
    assert len(desk.all_runs()) == 1
    (parked,) = desk.do(lambda tx: tx.notes.parked(10))
    assert (parked.kind, parked.body) == (kind or " ", raw)


def test_a_message_with_words_that_no_database_keeps_is_parked_all_the_same(desk: Desk) -> None:
    nul = desk.delivery(b"{", kind="e\0vil/1", headers={"a\0": "\0b"})
    desk.deliver(replace(nul, message_id="i\0d", routing_key="k\0"), desk.delivery(desk.ask({"a": call()})))
    assert len(desk.all_runs()) == 1
    (parked,) = desk.do(lambda tx: tx.notes.parked(10))
    assert (parked.kind, parked.message_id, parked.routing_key) == ("e�vil/1", "i�d", "k�")
    assert parked.headers == {"a�": "�b"}
    assert "\0" not in parked.reason


def test_a_submission_that_is_too_large_is_parked_and_cut(desk: Desk) -> None:
    desk.deliver(desk.delivery(encode(desk.ask({"a": call()})) + b" " * MAX_BODY_BYTES, kind="submit/1"))
    assert desk.all_runs() == []
    (parked,) = desk.do(lambda tx: tx.notes.parked(10))
    assert "at most 1,048,576" in parked.reason
    assert len(parked.body) == MAX_BODY_BYTES


def test_what_others_parked_is_kept_with_where_it_came_from(desk: Desk) -> None:
    headers = {"reason": "no", "origin_exchange": "x", "origin_routing_key": "y", "origin_kind": "orders/1", "z": "1"}
    desk.deliver(desk.delivery(b"body", kind="parked/1", queue="parked", headers=headers))
    (parked,) = desk.do(lambda tx: tx.notes.parked(10))
    assert (parked.reason, parked.exchange, parked.routing_key, parked.kind) == ("no", "x", "y", "orders/1")
    assert parked.headers == {"z": "1"}


def accept(desk: Desk, tasks: dict[str, object], key: str = "rest") -> str:
    """Accept a run as the gateway does: a row in the store, nothing else."""
    definition = Definition.parse({"workflow": "w", "tasks": tasks})
    run = make_run("me", definition, RunRequest(key=key), now=desk.now, shards=desk.rules.shards, rng=desk.rules.rng)

    def insert(tx: Transaction) -> None:
        tx.write(Changes(definitions=[definition_row(definition, desk.now)]))
        tx.write(Changes(new_runs=[run]))

    desk.do(insert)
    return run.id


def test_a_run_of_the_gateway_is_taken_up(desk: Desk, caller: Hand) -> None:
    run = accept(desk, {"a": call()})
    desk.deliver(Wake(shards=[0]))
    assert desk.run(run).tasks == 1
    assert desk.take_order().run == run


def test_a_run_that_is_cancelled_before_it_is_taken_up_ends(desk: Desk, caller: Hand) -> None:
    run = accept(desk, {"a": call()})
    desk.deliver(CancelRuns(owner="me", runs=[run]), Wake(shards=[0]))
    desk.wait(seconds=2)
    assert desk.run(run).state == RunState.CANCELLED
    assert desk.orders == []
    assert final_events(desk, run) == ["cancelled"]


def test_a_run_that_ended_before_it_was_taken_up_can_be_retried(desk: Desk, caller: Hand) -> None:
    run = accept(desk, {"a": call()})
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "retry", desk.now)])))
    desk.wait(seconds=2)
    desk.wait(seconds=2)
    assert desk.take_order().run == run


def test_an_intent_to_cancel_meets_a_run_taken_up_in_the_same_tick(desk: Desk, caller: Hand) -> None:
    run = accept(desk, {"a": call(), "b": job(needs=["a"])})
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "cancel", desk.now)])))
    desk.wait(seconds=2)
    assert desk.run(run).state == RunState.CANCELLED
    assert set(desk.states(run).values()) == {State.CANCELLED}


def test_nobody_cancels_for_another_owner(desk: Desk) -> None:
    run = desk.submit({"a": call()})
    desk.deliver(CancelRuns(owner="you", runs=[run]))
    assert desk.states(run) == {"a": State.READY}


# ── what follows ─────────────────────────────────────────────────────────────────────────────────────────────


def test_outputs_go_into_what_follows(desk: Desk, caller: Hand) -> None:
    run = desk.submit({
        "left": call(), "right": call(),
        "sum": call(args={"x": "{{ tasks.left.output.x }}", "y": "{{ tasks.right.output }}"}),
    })  # fmt: skip
    left, right = desk.take_order("left"), desk.take_order("right")
    desk.deliver(caller.report(left, output={"x": 1}))
    assert desk.states(run)["sum"] is State.WAITING
    desk.deliver(caller.report(right, output=[2]))
    assert desk.take_order("sum").body["args"] == {"x": 1, "y": [2]}
    desk.deliver(caller.report(desk.take_order("sum")))
    assert desk.run(run).state == RunState.SUCCEEDED
    assert final_events(desk, run) == ["running", "succeeded"]


def test_outputs_of_one_tick_meet(desk: Desk, caller: Hand) -> None:
    desk.submit({"a": call(), "b": call(), "c": call(args={"v": "{{ tasks.a.output + tasks.b.output }}"})})
    desk.deliver(*(caller.report(desk.take_order(name), output=5) for name in "ab"))
    assert desk.take_order("c").body["args"] == {"v": 10}


def test_an_output_that_a_template_cannot_use_fails_the_task(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(), "b": call(args={"x": "{{ tasks.a.output.x }}"}), "c": call(needs=["b"])})
    desk.deliver(caller.report(desk.take_order("a"), output={}))
    assert desk.states(run) == {"a": State.SUCCEEDED, "b": State.FAILED, "c": State.UPSTREAM_FAILED}
    assert desk.task(run, 1).cause == Cause.TEMPLATE
    assert desk.run(run).state == RunState.FAILED


def test_failure_goes_down_all_the_way(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(), "b": call(needs=["a"]), "c": call(needs=["b"]), "d": call()})
    desk.deliver(caller.report(desk.take_order("a"), Outcome.FAILED, cause=Cause.EXIT, message="no\0t so", exit_code=3))
    assert desk.states(run) == {
        "a": State.FAILED, "b": State.UPSTREAM_FAILED, "c": State.UPSTREAM_FAILED, "d": State.ORDERED,
    }  # fmt: skip
    row = desk.task(run, 0)
    assert (row.message, row.exit_code) == ("no�t so", 3)
    assert desk.task(run, 2).message == "it needs b, which is upstream failed"
    assert desk.run(run).state == RunState.RUNNING
    desk.deliver(caller.report(desk.take_order("d")))
    assert desk.run(run).state == RunState.FAILED


def test_a_failed_try_is_followed_by_another_after_its_delay(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(retry={"count": 1, "delay": "10s"})})
    first = desk.take_order()
    desk.deliver(caller.report(first, Outcome.FAILED, cause=Cause.ERROR, message="once"))
    assert (desk.task(run).state, desk.task(run).tries) == (State.WAITING, 1)
    desk.wait(seconds=8)
    assert desk.task(run).state is State.WAITING
    desk.deliver(caller.beat())
    desk.wait(seconds=4)
    second = desk.take_order()
    assert second.attempt == 2
    desk.deliver(caller.report(second, Outcome.FAILED, cause=Cause.ERROR))
    assert desk.task(run).state is State.FAILED
    (ended,) = desk.do(lambda tx: tx.tasks.attempts(TaskRef(run, 0)))
    assert (ended.attempt, ended.ended, ended.message) == (1, "retry", "once")


def test_a_cause_that_is_not_retried_fails_at_once(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(retry={"count": 5, "on": ["timeout"]})})
    desk.deliver(caller.report(desk.take_order(), Outcome.FAILED, cause=Cause.EXIT))
    assert desk.task(run).state is State.FAILED


def test_an_output_that_is_too_large_is_an_error(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call()})
    desk.deliver(caller.report(desk.take_order(), output="x" * 70_000))
    row = desk.task(run)
    assert row.state is State.FAILED
    assert "65,536" in (row.message or "")


# ── orders and claims ────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_ordered_without_workers(desk: Desk) -> None:
    desk.submit({"a": call(), "b": job()})
    assert desk.orders == []


def test_a_light_call_starts_without_a_claim(desk: Desk, caller: Hand) -> None:
    desk.submit({"a": call(), "once": call(once=True)})
    assert ("call.demo", ["a"], False) in desk.routes
    assert ("call.demo", ["once"], True) in desk.routes
    assert desk.take_order("a").token is not None
    assert desk.take_order("once").token is None


def test_an_order_lies_unclaimed_and_is_placed_anew_without_a_retry(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    first = desk.take_order()
    desk.wait(seconds=50)
    desk.deliver(worker.beat())
    assert desk.take_order() is first
    desk.wait(seconds=10)
    second = desk.take_order()
    assert (second.attempt, desk.task(run).tries) == (2, 0)
    desk.deliver(worker.claim(first))
    assert worker.refusals == [(first.ref, "superseded")]
    desk.grant(worker, second)


def test_an_attempt_is_granted_to_the_first_alone(desk: Desk, worker: Hand) -> None:
    other, reborn = Hand("job-b", Kind.JOB), Hand("job-a", Kind.JOB, boot="b2")
    desk.hire(other)
    run = desk.submit({"a": job()})
    order = desk.take_order()
    grant = desk.grant(worker, order)
    assert desk.task(run).state is State.RUNNING
    desk.deliver(other.claim(order))
    assert (other.grants, other.refusals) == ([], [(order.ref, "another worker holds it")])
    assert desk.grant(worker, order).token == grant.token  # its answer was lost: it may ask again
    desk.hands["job-a"] = reborn
    desk.deliver(reborn.claim(order))
    assert (reborn.grants, reborn.refusals) == ([], [(order.ref, "another worker holds it")])


def test_two_claims_in_one_tick_give_one_grant(desk: Desk, worker: Hand) -> None:
    other = Hand("job-b", Kind.JOB)
    desk.hire(other)
    desk.submit({"a": job()})
    order = desk.take_order()
    desk.deliver(other.claim(order), worker.claim(order))
    assert (len(other.grants), len(worker.grants)) == (1, 0)


def test_a_report_is_applied_once(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    grant = desk.grant(worker, desk.take_order())
    desk.deliver(worker.report(grant, output=1))
    desk.deliver(worker.report(grant, output=2))
    assert [receipt.applied for receipt in worker.receipts] == [True, True]
    assert desk.task(run).output == "1"
    assert desk.strays(run) == []
    assert final_events(desk, run).count("succeeded") == 1


def test_a_failure_that_is_tried_again_is_reported_twice_and_counted_once(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job(retry=3)})
    grant = desk.grant(worker, desk.take_order())
    for _ in range(2):
        desk.deliver(worker.report(grant, Outcome.FAILED, cause=Cause.EXIT))
    assert desk.task(run).tries == 1
    assert [receipt.applied for receipt in worker.receipts] == [True, True]
    assert desk.strays(run) == []


def test_a_late_report_is_evidence(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    grant = desk.grant(worker, desk.take_order())
    desk.wait(seconds=36)
    assert desk.task(run).state is State.READY
    desk.deliver(worker.report(grant))
    assert [receipt.applied for receipt in worker.receipts] == [False]
    assert desk.strays(run) == ["its attempt is over"]
    assert desk.task(run).state in (State.READY, State.ORDERED)


def test_a_strangers_word_on_a_past_attempt_is_not_kept(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    grant = desk.grant(worker, desk.take_order())
    desk.wait(seconds=36)
    desk.deliver(worker.report(grant.model_copy(update={"token": "0" * 32})))
    assert [receipt.applied for receipt in worker.receipts] == [False]
    assert desk.strays(run) == []


def test_success_after_the_task_was_given_up_is_evidence(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job(on_lost="fail")})
    grant = desk.grant(worker, desk.take_order())
    desk.wait(seconds=36)
    assert (desk.task(run).state, desk.task(run).cause) == (State.FAILED, Cause.LOST)
    desk.deliver(worker.report(grant))
    assert [receipt.applied for receipt in worker.receipts] == [False]
    assert desk.strays(run) == ["its attempt is over"]


def test_a_forged_report_is_evidence_and_moves_nothing(desk: Desk, worker: Hand, caller: Hand) -> None:
    run = desk.submit({"a": job(), "b": call()})
    grant, direct = desk.grant(worker, desk.take_order("a")), desk.take_order("b")
    thief = Hand("job-z", Kind.JOB)
    desk.deliver(thief.report(grant))  # the right token, another worker
    desk.deliver(worker.report(grant.model_copy(update={"token": "0" * 32})))
    desk.deliver(caller.report(direct.model_copy(update={"token": "0" * 32})))
    assert desk.states(run) == {"a": State.RUNNING, "b": State.ORDERED}
    assert desk.strays(run, 0) == ["its token does not prove this attempt"] * 2
    assert desk.strays(run, 1) == ["its token does not prove this attempt"]


def test_a_job_is_not_reported_without_a_claim(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    order = desk.take_order()
    token = desk.rules.keys.claims.direct_token(order.ref, "job")
    desk.deliver(worker.report(order.model_copy(update={"token": token})))
    assert desk.task(run).state is State.ORDERED


def test_a_direct_call_needs_no_receipt(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call()})
    desk.deliver(caller.report(desk.take_order(), output="x"))
    assert desk.task(run).state is State.SUCCEEDED
    assert caller.receipts == []


def test_a_long_call_asks_for_a_lease_and_is_claimed_from_then_on(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call()})
    order = desk.take_order()
    grant = desk.grant(caller, order)
    assert desk.task(run).state is State.RUNNING
    desk.deliver(caller.report(order))  # the direct token proves nothing any more
    assert desk.task(run).state is State.RUNNING
    desk.deliver(caller.report(grant))
    assert desk.task(run).state is State.SUCCEEDED
    assert caller.receipts[-1].applied


def test_parts_for_other_owners_are_sent_on(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    order = desk.take_order()
    shard = desk.task(run).shard
    desk.own({shard + 1 & 3})
    desk.deliver(worker.claim(order))
    assert [(message.routing_key, message.kind) for message in desk.effects.posted] == [(str(shard), "claims/1")]
    assert worker.grants == []
    desk.own()
    assert desk.task(run).state is State.ORDERED


def test_a_shard_that_does_not_exist_gets_no_queue(desk: Desk, worker: Hand) -> None:
    desk.submit({"a": job()})
    strange = desk.take_order().model_copy(update={"run": "0" * 8 + "zzz" + "0" * 5})
    desk.deliver(worker.claim(strange))
    assert desk.effects.posted == []


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────


def running(desk: Desk, hand: Hand, **fields: object) -> tuple[str, object]:
    run = desk.submit({"a": job(**fields)})
    return run, desk.grant(hand, desk.take_order())


def test_heartbeats_hold_an_attempt_for_as_long_as_they_come(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    for _ in range(10):
        desk.wait(seconds=20)
        desk.deliver(worker.beat(grant))
        assert worker.extended[-1] == grant.ref
    assert desk.task(run).state is State.RUNNING
    desk.wait(seconds=36)
    assert (desk.task(run).state, desk.task(run).tries) == (State.READY, 0)
    desk.deliver(worker.beat(grant))
    assert [(stop.ref, stop.reason) for stop in worker.stops] == [(grant.ref, "not yours")]


def test_a_forged_heartbeat_extends_nothing(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    desk.wait(seconds=20)
    thief = Hand("job-z", Kind.JOB)
    desk.deliver(thief.beat(grant), worker.beat(grant.model_copy(update={"token": "0" * 32})))
    assert (thief.extended, worker.extended) == ([], [])
    desk.wait(seconds=16)
    assert desk.task(run).state is not State.RUNNING


def test_a_new_owner_gives_every_holder_one_lease(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    desk.now += timedelta(hours=1)
    desk.crash()
    desk.wait(seconds=30)
    assert desk.task(run).state is State.RUNNING
    desk.deliver(worker.beat(grant))
    assert worker.extended == [grant.ref]


def test_a_new_owner_gives_every_order_its_time(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call()})
    order = desk.take_order()
    desk.now += timedelta(hours=1)
    desk.crash()
    desk.wait(seconds=5)
    desk.deliver(caller.report(order))
    assert desk.task(run).state is State.SUCCEEDED


def test_an_order_that_a_new_owner_waited_for_is_placed_anew_at_last(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    desk.now += timedelta(hours=1)
    desk.crash()
    desk.now += ORDER_TIMEOUT
    desk.deliver(worker.beat())
    assert desk.task(run).attempt == 2


def test_a_grant_after_a_change_of_owners_has_a_lease_and_no_more(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    order = desk.take_order()
    desk.crash()
    desk.grant(worker, order)
    desk.wait(seconds=36)
    assert desk.task(run).state is State.READY


def test_work_that_must_not_run_twice_fails_when_lost(desk: Desk, worker: Hand) -> None:
    run, _ = running(desk, worker, on_lost="fail", retry=3)
    desk.wait(seconds=36)
    row = desk.task(run)
    assert (row.state, row.cause, row.message) == (State.FAILED, "lost", "its worker job-a stopped answering")


def held(desk: Desk, worker: Hand) -> tuple[str, object]:
    run, grant = running(desk, worker, on_lost="hold")
    desk.wait(seconds=36)
    row = desk.task(run)
    assert (row.state, row.due_at) == (State.UNREACHABLE, None)
    assert "held" in (row.message or "")
    return run, grant


def test_held_work_waits_for_its_worker(desk: Desk, worker: Hand) -> None:
    run, grant = held(desk, worker)
    desk.wait(hours=10)
    desk.deliver(worker.report(grant))
    assert desk.task(run).state is State.SUCCEEDED


def test_held_work_that_came_back_has_a_lease_again(desk: Desk, worker: Hand) -> None:
    run, grant = held(desk, worker)
    desk.deliver(worker.beat(grant))
    assert (desk.task(run).state, desk.task(run).message) == (State.RUNNING, None)
    desk.wait(seconds=36)
    assert desk.task(run).state is State.UNREACHABLE


def test_held_work_can_be_cancelled_without_its_worker(desk: Desk, worker: Hand) -> None:
    run, grant = held(desk, worker)
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    assert desk.task(run).state is State.CANCELLING
    assert worker.stops[-1].ref == grant.ref
    desk.wait(seconds=6)
    assert desk.run(run).state == RunState.CANCELLED


def test_gossip_makes_unreachable_and_a_heartbeat_finds(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    desk.deliver(Members(members=[MemberSeen(name="job-a", status="failed")]))
    assert desk.task(run).state is State.UNREACHABLE
    desk.submit({"b": job()})
    assert desk.take_order().task_name == "a"  # nothing for a host that is thought dead
    desk.wait(seconds=20)
    desk.deliver(worker.beat(grant))
    assert desk.task(run).state is State.RUNNING
    assert desk.take_order().task_name == "b"


def test_gossip_does_not_shorten_a_lease(desk: Desk, worker: Hand) -> None:
    run, _ = running(desk, worker)
    desk.deliver(Members(members=[MemberSeen(name="job-a", status="failed")]))
    desk.wait(seconds=34)
    assert desk.task(run).state is State.UNREACHABLE
    desk.wait(seconds=2)
    assert desk.task(run).state is State.READY


@pytest.mark.parametrize("full", [False, True])
def test_gossip_that_lies_and_flaps_never_takes_a_live_attempt_away(desk: Desk, worker: Hand, full: bool) -> None:
    run, grant = running(desk, worker)
    lies = ("failed", "left", "failed", "alive", "failed", "leaving", "failed", "failed")
    for round_ in range(60):  # ten minutes, twenty leases
        told = [MemberSeen(name="job-a", status=lies[round_ % len(lies)])]
        desk.deliver(Members(members=[] if full and round_ % 5 == 4 else told, full=full))
        desk.wait(seconds=9)
        desk.deliver(Members(members=[MemberSeen(name="job-a", status="failed")], full=full))
        assert desk.task(run).state in (State.RUNNING, State.UNREACHABLE)
        desk.wait(seconds=1)
        desk.deliver(worker.beat(grant))
        row = desk.task(run)
        assert (row.state, row.attempt) == (State.RUNNING, grant.attempt)
    desk.deliver(worker.report(grant))
    assert desk.task(run).state is State.SUCCEEDED
    assert desk.strays(run) == []


def test_success_reported_while_unreachable_counts(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    desk.deliver(Members(members=[MemberSeen(name="job-a", status="failed")]))
    desk.deliver(worker.report(grant))
    assert desk.task(run).state is State.SUCCEEDED


# ── cancel, expire, retry ────────────────────────────────────────────────────────────────────────────────────


def test_what_nobody_holds_is_cancelled_at_once(desk: Desk) -> None:
    run = desk.submit({"a": call(), "b": call(needs=["a"])})
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    assert desk.run(run).state == RunState.CANCELLED
    assert final_events(desk, run) == ["running", "cancelled"]


def test_an_unclaimed_order_is_cancelled_at_once(desk: Desk, worker: Hand) -> None:
    run = desk.submit({"a": job()})
    order = desk.take_order()
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    assert desk.run(run).state == RunState.CANCELLED
    desk.deliver(worker.claim(order))
    assert worker.refusals == [(order.ref, "superseded")]


def test_a_running_task_is_stopped_and_then_cancelled(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    assert desk.run(run).state == RunState.CANCELLING
    assert [(stop.ref, stop.reason) for stop in worker.stops] == [(grant.ref, "cancelled")]
    desk.deliver(worker.beat(grant))
    assert len(worker.stops) == 2  # the first may have been lost
    desk.deliver(worker.report(grant, Outcome.CANCELLED, cause=Cause.CANCELLED))
    assert desk.run(run).state == RunState.CANCELLED


def test_success_before_the_kill_is_success(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    desk.deliver(CancelRuns(owner="me", runs=[run]), worker.report(grant))
    assert desk.run(run).state == RunState.SUCCEEDED


def test_a_failure_while_cancelling_is_not_tried_again(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker, retry=5)
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    desk.deliver(worker.report(grant, Outcome.FAILED, cause=Cause.EXIT))
    assert desk.run(run).state == RunState.CANCELLED


def test_a_worker_that_does_not_confirm_loses_the_attempt(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    desk.wait(seconds=36)
    assert desk.run(run).state == RunState.CANCELLED
    desk.deliver(worker.report(grant))
    assert worker.receipts[-1].applied is False


def test_an_unreachable_task_is_cancelled_when_its_lease_is_over(desk: Desk, worker: Hand) -> None:
    run, _ = running(desk, worker)
    desk.deliver(Members(members=[MemberSeen(name="job-a", status="failed")]), CancelRuns(owner="me", runs=[run]))
    assert desk.run(run).state == RunState.CANCELLING
    desk.wait(seconds=36)
    assert desk.run(run).state == RunState.CANCELLED


@pytest.mark.parametrize("crashed", [False, True])
def test_a_direct_call_may_still_report_for_a_moment(desk: Desk, caller: Hand, crashed: bool) -> None:
    run = desk.submit({"a": call()})
    other = desk.submit({"a": call()})
    first, second = (next(one for one in desk.orders if one.run == which) for which in (run, other))
    if crashed:
        desk.crash()
    desk.deliver(CancelRuns(owner="me", runs=[run, other]))
    desk.deliver(caller.report(first), caller.claim(second))
    assert caller.refusals == [(second.ref, "cancelled")]
    assert (desk.run(run).state, desk.run(other).state) == (RunState.SUCCEEDED, RunState.CANCELLED)


@pytest.mark.parametrize("crashed", [False, True])
def test_a_direct_call_that_says_nothing_is_cancelled(desk: Desk, caller: Hand, crashed: bool) -> None:
    run = desk.submit({"a": call()})
    if crashed:
        desk.crash()
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    desk.wait(seconds=6)
    assert desk.run(run).state == RunState.CANCELLED


def test_a_task_waiting_for_its_retry_is_cancelled(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker, retry=5)
    desk.deliver(worker.report(grant, Outcome.FAILED, cause=Cause.EXIT))
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    assert desk.run(run).state == RunState.CANCELLED
    desk.wait(hours=1)
    assert desk.run(run).state == RunState.CANCELLED


def test_a_task_that_nobody_starts_within_its_grace_expires(desk: Desk) -> None:
    run = desk.submit({"a": call(grace="10s"), "b": call(needs=["a"])})
    desk.wait(seconds=9)
    assert desk.states(run)["a"] is State.READY
    desk.wait(seconds=1)
    assert desk.states(run) == {"a": State.EXPIRED, "b": State.UPSTREAM_FAILED}
    assert desk.run(run).state == RunState.FAILED


def test_what_did_not_succeed_gets_another_go(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(), "b": call(), "c": call(needs=["b"], args={"x": "{{ tasks.a.output }}"})})
    desk.deliver(caller.report(desk.take_order("a"), output=7))
    desk.deliver(caller.report(desk.take_order("b"), Outcome.FAILED, cause=Cause.ERROR))
    assert desk.run(run).state == RunState.FAILED
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "retry", desk.now)])))
    desk.wait(seconds=2)
    assert desk.states(run) == {"a": State.SUCCEEDED, "b": State.ORDERED, "c": State.WAITING}
    again = desk.take_order("b")
    assert again.attempt == 2
    desk.deliver(caller.report(again))
    assert desk.take_order("c").body["args"] == {"x": 7}
    desk.deliver(caller.report(desk.take_order("c")))
    assert desk.run(run).state == RunState.SUCCEEDED
    assert final_events(desk, run) == ["running", "failed", "running", "succeeded"]


def test_a_running_run_is_not_retried(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call()})
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "retry", desk.now)])))
    desk.wait(seconds=2)
    assert desk.task(run).attempt == 1


# ── order and place ──────────────────────────────────────────────────────────────────────────────────────────


def test_age_lifts_what_waits_in_the_window(desk: Desk) -> None:
    desk.submit({"old": call(priority=4)})
    desk.wait(minutes=11)
    desk.submit({"new": call(priority=4, deadline="1m"), "high": call(priority=6)}, RunRequest(key="2"))
    desk.check()
    desk.hire(Hand("call-a", slots=3))
    assert [order.task_name for order in desk.orders] == ["high", "old", "new"]


def test_age_lifts_what_waits_in_the_store_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LIFTED_A_LOOK", 1)
    old = desk.submit({"old": call(priority=3)})
    desk.wait(seconds=1)
    for number in range(45):
        desk.submit({f"t{n}": call() for n in range(100)}, RunRequest(key=f"many-{number}"))
    assert TaskRef(old, 0) not in desk.engine.book.ready
    desk.wait(minutes=10)
    desk.check()
    assert desk.task(old).level == 5
    assert TaskRef(old, 0) in desk.engine.book.ready


def test_priority_then_deadline_then_age(desk: Desk) -> None:
    desk.submit({"plain": call()})
    desk.now += timedelta(seconds=1)
    desk.submit({"later": call(), "soon": call(deadline="1m"), "high": call(priority=9), "low": call(priority=0)})
    desk.hire(Hand("call-a", slots=1))
    for place in range(5):
        desk.now += timedelta(seconds=1)
        desk.deliver(desk.hands["call-a"].report(desk.orders[place]), desk.hands["call-a"].beat())
    names = [order.task_name for order in desk.orders]
    assert names == ["high", "soon", "plain", "later", "low"]


def test_who_waits_long_enough_goes_first(desk: Desk) -> None:
    desk.submit({"low": call(priority=0)})
    for _ in range(9):
        desk.wait(minutes=10)
    desk.submit({"high": call(priority=9)})
    desk.hire(Hand("call-a", slots=1))
    assert desk.take_order().task_name == "low"


def test_no_more_is_ordered_than_the_slots_take(desk: Desk, worker: Hand) -> None:
    desk.submit({f"t{number}": job() for number in range(10)})
    assert len(desk.orders) == worker.slots
    grant = desk.grant(worker, desk.orders[0])
    desk.deliver(worker.report(grant))
    assert len(desk.orders) <= worker.slots + 2


def test_a_heavy_task_goes_to_a_worker_with_room(desk: Desk) -> None:
    desk.hire(Hand("small", Kind.JOB, slots=2), Hand("large", Kind.JOB, slots=8))
    desk.submit({"heavy": job(weight=5)})
    assert desk.routes == [("worker.large", ["heavy"], True)]
    order = desk.take_order()
    small, large = desk.hands["small"], desk.hands["large"]
    desk.deliver(small.claim(order))
    assert small.refusals == [(order.ref, "it was meant for another worker")]
    assert desk.engine.book.used["large"] == 5
    desk.grant(large, order)
    assert desk.engine.book.used["large"] == 5
    desk.submit({"other": job(weight=4)})
    assert desk.take_order() is order


def test_a_task_too_heavy_for_all_lets_others_pass(desk: Desk, worker: Hand) -> None:
    desk.submit({"giant": job(weight=100, priority=9), "light": job(priority=0)})
    assert [order.task_name for order in desk.orders] == ["light"]


def test_a_run_stays_at_its_site(desk: Desk) -> None:
    north, south = Hand("job-n", Kind.JOB, site="north"), Hand("job-s", Kind.JOB, site="south")
    desk.hire(north, south)
    run = desk.submit({"a": job(), "b": job(needs=["a"]), "c": job(needs=["b"])})
    desk.deliver(north.report(desk.grant(north, desk.take_order("a"))))
    assert desk.run(run).site == "north"
    assert desk.routes[-1] == ("worker.job-n", ["b"], True)
    desk.crash()
    desk.deliver(north.beat(), south.beat())
    desk.deliver(south.claim(desk.take_order("b")))
    assert south.grants == []
    desk.deliver(north.report(desk.grant(north, desk.take_order("b"))))
    assert desk.routes[-1] == ("worker.job-n", ["c"], True)


def test_a_retried_run_goes_back_to_its_site(desk: Desk) -> None:
    north, south = Hand("job-n", Kind.JOB, site="north"), Hand("job-s", Kind.JOB, site="south")
    desk.hire(north, south)
    run = desk.submit({"a": job()})
    desk.deliver(north.report(desk.grant(north, desk.take_order()), Outcome.FAILED, cause=Cause.EXIT))
    assert desk.engine.book.sites == {}
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "retry", desk.now)])))
    desk.wait(seconds=2)
    assert desk.routes[-1] == ("worker.job-n", ["a"], True)


def test_an_order_of_two_tasks_claimed_at_two_sites_is_settled_by_the_first(desk: Desk) -> None:
    north, south = Hand("job-n", Kind.JOB, site="north"), Hand("job-s", Kind.JOB, site="south")
    desk.hire(north, south)
    run = desk.submit({"a": job(), "b": job()})
    desk.deliver(north.claim(desk.take_order("a")), south.claim(desk.take_order("b")))
    assert [reason for _, reason in south.refusals] == ["its run works at site north"]
    assert desk.routes[-1] == ("worker.job-n", ["b"], True)
    assert desk.run(run).site == "north"


def test_a_worker_that_leaves_gets_nothing_more(desk: Desk, worker: Hand) -> None:
    desk.deliver(worker.beat(state="leaving"))
    desk.submit({"a": job()})
    assert desk.orders == []


def test_light_calls_travel_together_when_many_wait(desk: Desk) -> None:
    desk.submit({f"t{number}": call() for number in range(200)})
    desk.hire(Hand("call-a", slots=100))
    assert max(len(names) for _, names, _ in desk.routes) > 5
    assert len(desk.orders) == 100


# ── logs, fences, memory ─────────────────────────────────────────────────────────────────────────────────────


def test_the_holder_of_an_attempt_is_believed_what_it_printed(desk: Desk, worker: Hand) -> None:
    run, grant = running(desk, worker)

    def chunk(token: str, text: str, offset: int = 0) -> Logs:
        part = LogChunk(run=run, n=0, attempt=1, token=token, stream="stdout", offset=offset, text=text)
        return Logs(worker="job-a", boot="b1", chunks=[part])

    desk.deliver(chunk(grant.token, "a\0b"), chunk(grant.token, "twice"), chunk("0" * 32, "forged", 9))
    desk.deliver(worker.report(grant))
    desk.deliver(chunk(grant.token, "after", 3))
    pieces = desk.do(lambda tx: tx.notes.logs(TaskRef(run, 0), 1, "stdout", 0, 10))
    assert [piece.text for piece in pieces] == ["a�b", "after"]


def test_a_fenced_engine_writes_nothing(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call()})
    desk.do(lambda tx: tx.shards.take(tx.shards.all(), "other"))
    with pytest.raises(Fenced):
        desk.deliver(caller.report(desk.take_order()))
    assert desk.task(run).state is State.ORDERED
    desk.crash()
    desk.deliver(caller.report(desk.take_order()))
    assert desk.task(run).state is State.SUCCEEDED


def test_what_was_not_sent_is_sent_again_after_a_crash(desk: Desk, caller: Hand) -> None:
    desk.submit({"a": call()})
    before = len(desk.orders)
    desk.crash()
    assert len(desk.orders) == before + 1
    desk.deliver()
    assert desk.do(lambda tx: tx.mail.unsent(range(4), 10)) == []


def test_what_was_confirmed_is_not(desk: Desk, caller: Hand) -> None:
    desk.submit({"a": call()})
    desk.deliver()
    before = len(desk.orders)
    desk.crash()
    assert len(desk.orders) == before


def test_nothing_stays_in_memory_of_what_is_over(desk: Desk, worker: Hand, caller: Hand) -> None:
    for _ in range(5):
        run = desk.submit({"a": job(), "b": call(needs=["a"])})
        grant = desk.grant(worker, desk.take_order("a"))
        desk.deliver(worker.beat(grant))
        desk.deliver(worker.report(grant))
        desk.deliver(caller.report(desk.take_order("b")))
        assert desk.run(run).state == RunState.SUCCEEDED
    book = desk.engine.book
    assert not book.in_flight
    assert not book.ready
    assert not book.leases
    assert not book.sites
    assert not any(book.used.values())
    assert not any(len(window) for window in book.windows.values())


def test_many_ready_tasks_stay_in_the_store(desk: Desk) -> None:
    for number in range(30):
        desk.submit({f"t{n}": call() for n in range(200)}, RunRequest(key=str(number), priority=number % 10))
    assert len(desk.engine.book.ready) <= 4_000
    desk.hire(Hand("call-a", slots=100_000))
    for _ in range(10):
        desk.deliver()
    assert len(desk.orders) == 6_000


def test_a_row_that_nothing_can_be_done_with_is_left_aside(desk: Desk, worker: Hand) -> None:
    bad = desk.submit({"a": job(retry={"count": 1, "delay": "1s"})})
    desk.deliver(worker.report(desk.grant(worker, desk.take_order()), Outcome.FAILED, cause=Cause.EXIT))
    good = desk.submit({"a": job(retry={"count": 1, "delay": "1s"})})
    desk.deliver(worker.report(desk.grant(worker, desk.take_order()), Outcome.FAILED, cause=Cause.EXIT))
    desk.do(lambda tx: tx.tasks._connection.exec_driver_sql(f"UPDATE tasks SET policy = 'broken' WHERE run = '{bad}'"))
    with pytest.raises(ValidationError):
        desk.wait(seconds=3)
    assert desk.engine.blame() == (bad, 0)
    desk.own()
    desk.wait(seconds=3)
    assert (desk.task(bad).state, desk.task(good).state) == (State.WAITING, State.ORDERED)
    desk.do(lambda tx: tx.tasks._connection.exec_driver_sql(f"UPDATE tasks SET policy = '{{}}' WHERE run = '{bad}'"))
    desk.wait(minutes=2)
    assert desk.task(bad).state is not State.WAITING


def test_a_bundle_is_never_larger_than_a_message_may_be(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=100))
    desk.submit({f"t{n}": call(args={"text": "x" * 24_000}) for n in range(40)}, *(RunRequest(key=k) for k in "ab"))
    sizes = [len(names) * 24_000 for _, names, _ in desk.routes]
    assert len(desk.orders) == 80
    assert 300_000 < max(sizes) <= 512 * 1024


def test_a_task_that_is_too_large_with_its_outputs_fails(desk: Desk, caller: Hand) -> None:
    many = [f"t{n}" for n in range(10)]
    joined = {name: f"{{{{ tasks.{name}.output }}}}" for name in many}
    run = desk.submit({**{name: call() for name in many}, "all": call(needs=many, args=joined)})
    for name in many:
        desk.deliver(caller.report(desk.take_order(name), output="x" * 60_000))
    task = desk.task(run, len(many))
    assert (task.state, task.cause) == (State.FAILED, Cause.TEMPLATE)
    assert "pass large data in files" in (task.message or "")
