"""Drains, the penalty box and poison, as the engine deals with them."""

from __future__ import annotations

from typing import Any

import pytest

from desk import LEASE, Desk, Hand, call, job
from warrener.errors import Cause
from warrener.ids import RunId
from warrener.messages import EndedLife, Grant, Kind, Outcome
from warrener.penalties import FIRST
from warrener.states import State
from warrener.store import Changes, Drain

DEAD = LEASE.total_seconds() + 6


def jobber(name: str, *, slots: int = 1, boot: str = "b1") -> Hand:
    return Hand(name, Kind.JOB, slots=slots, boot=boot)


def drain(desk: Desk, what: Any, name: str, reason: str = "") -> None:
    desk.do(lambda tx: tx.restraints.drain(Drain(what, name, "anna", reason, desk.now)))


def limits(hand: Hand) -> list[int | None]:
    return [limit.slots for limit in hand.limits]


# ── drains ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_drained_worker_is_told_so_and_gets_nothing(desk: Desk) -> None:
    one = jobber("one", slots=4)
    desk.hire(one)
    drain(desk, "worker", "one", "new disk")
    desk.wait(seconds=1)
    assert [(limit.slots, limit.reason) for limit in one.limits] == [(0, "drained by anna: new disk")]
    desk.submit({"a": job()})
    assert not desk.orders


def test_a_drained_host_drains_its_workers_also_those_to_come(desk: Desk) -> None:
    drain(desk, "host", "one")
    one = jobber("one")
    desk.hire(one)
    desk.wait(seconds=1)
    assert limits(one) == [0]
    run = desk.submit({"a": job()})
    assert desk.states(run) == {"a": State.READY}


def test_a_worker_that_obeys_is_not_told_again_and_after_the_drain_it_is_told(desk: Desk) -> None:
    one = jobber("one")
    desk.hire(one)
    drain(desk, "worker", "one")
    desk.wait(seconds=1)
    for _ in range(5):
        desk.deliver(one.beat(limit=0))
        desk.wait(seconds=3)
    assert limits(one) == [0]
    desk.do(lambda tx: tx.restraints.undrain("worker", "one"))
    desk.wait(seconds=1)
    assert limits(one) == [0, None]


def test_a_word_that_was_lost_is_said_again(desk: Desk) -> None:
    one = jobber("one")
    desk.hire(one)
    drain(desk, "worker", "one")
    desk.wait(seconds=1)
    desk.wait(seconds=5)
    assert limits(one) == [0, 0]


def test_what_runs_on_a_drained_worker_ends_as_planned(desk: Desk) -> None:
    one = jobber("one")
    desk.hire(one)
    run = desk.submit({"a": job()})
    grant = desk.grant(one, desk.take_order())
    drain(desk, "worker", "one")
    desk.wait(seconds=1)
    desk.deliver(one.beat(grant, limit=0))
    assert grant.ref in one.extended
    desk.deliver(one.report(grant))
    assert desk.states(run) == {"a": State.SUCCEEDED}


def test_a_drained_worker_is_refused_what_it_had_not_begun_and_another_gets_it(desk: Desk) -> None:
    one, two = jobber("one"), jobber("two")
    desk.hire(one)
    run = desk.submit({"a": job()})
    drain(desk, "worker", "one")
    desk.wait(seconds=1)
    desk.deliver(one.claim(desk.take_order()))
    assert [reason for _, reason in one.refusals] == ["one is drained by anna"]
    desk.hire(two)
    desk.deliver(two.report(desk.grant(two, desk.take_order())))
    assert desk.states(run) == {"a": State.SUCCEEDED}


def test_what_was_meant_for_a_drained_worker_goes_to_another_at_once(desk: Desk) -> None:
    one, two = jobber("one", slots=2), jobber("two", slots=2)
    desk.hire(one)
    desk.submit({"a": job(weight=2)})
    assert desk.routes[-1][0] == "worker.one"
    drain(desk, "worker", "one")
    desk.deliver(two.beat())
    desk.wait(seconds=1)
    assert desk.routes[-1][0] == "worker.two"


def test_a_long_call_of_a_drained_worker_gets_its_lease(desk: Desk) -> None:
    one = Hand("one")
    desk.hire(one)
    desk.submit({"a": call()})
    order = desk.take_order()
    drain(desk, "worker", "one")
    desk.wait(seconds=1)
    claims = one.claim(order)
    desk.deliver(claims.model_copy(update={"claims": [claims.claims[0].model_copy(update={"token": order.token})]}))
    assert [grant.ref for grant in one.grants] == [order.ref]


def test_what_runs_on_drained_slots_takes_nothing_from_the_others(desk: Desk) -> None:
    one, two = jobber("one", slots=4), jobber("two", slots=4)
    desk.hire(one)
    desk.submit({f"a{n}": job() for n in range(4)})
    held = [desk.grant(one, order) for order in list(desk.orders)]
    drain(desk, "worker", "one")
    desk.deliver(two.beat(), one.beat(*held))
    desk.wait(seconds=1)
    desk.orders.clear()
    desk.submit({f"b{n}": job() for n in range(4)})
    assert len(desk.orders) == 4


# ── load ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_loaded_host_gets_fewer_orders(desk: Desk) -> None:
    one = jobber("one", slots=4)
    desk.hire(one)
    desk.deliver(one.beat(withheld=3))
    desk.submit({f"a{n}": job() for n in range(4)})
    assert len(desk.orders) == 1
    desk.deliver(one.beat())
    assert len(desk.orders) == 4


def test_a_host_that_withholds_everything_gets_no_order_in_either_lane(desk: Desk) -> None:
    one = jobber("one", slots=4)
    desk.hire(one)
    desk.deliver(one.beat(withheld=4))
    desk.submit({"a": job(), "b": job(weight=2)})
    assert not desk.orders


# ── poison ──────────────────────────────────────────────────────────────────────────────────────────────────────


def kill(desk: Desk, *grants: tuple[Hand, Grant], alive: Hand) -> None:
    """Let the workers fall silent until their leases have run out, while another one goes on beating."""
    del grants
    for _ in range(4):
        desk.wait(seconds=DEAD / 4)
        desk.deliver(alive.beat())


def start(desk: Desk, hand: Hand, name: str) -> Grant:
    order = desk.take_order(name)
    return desk.grant(hand, order)


def die_with(desk: Desk, name: str, number: int, *, alive: Hand) -> None:
    """Let a new worker take a task and die with it."""
    hand = jobber(f"w{number}", boot=f"b{number}")
    desk.hire(hand)
    desk.wait(seconds=1)
    grant = start(desk, hand, name)
    kill(desk, (hand, grant), alive=alive)


@pytest.fixture
def witness(desk: Desk) -> Hand:
    """Lend a worker of another kind, by which others are known to be silent."""
    hand = Hand("witness", Kind.STAGE, boot="b0")
    desk.hire(hand)
    return hand


def test_a_task_that_three_workers_die_of_is_poison(desk: Desk, witness: Hand) -> None:
    run = desk.submit({"a": job(retry=5)})
    for number in (1, 2):
        die_with(desk, "a", number, alive=witness)
        assert desk.states(run) == {"a": State.READY}
    die_with(desk, "a", 3, alive=witness)
    task = desk.task(run)
    assert (task.state, task.cause, task.tries) == (State.FAILED, Cause.POISON, 0)
    assert task.message == ("workers died 3 times while they did this (w1, w2, w3); it is not tried again by itself")
    (alert,) = desk.alerts
    assert (alert.kind, alert.subject, alert.over) == ("task-poison", f"{run}/a", False)
    assert (alert.owner, alert.site) == (desk.run(run).owner, "local")


def test_deaths_are_remembered_by_the_next_scheduler(desk: Desk, witness: Hand) -> None:
    run = desk.submit({"a": job()})
    die_with(desk, "a", 1, alive=witness)
    die_with(desk, "a", 2, alive=witness)
    desk.crash()
    desk.deliver(witness.beat())
    die_with(desk, "a", 3, alive=witness)
    assert desk.task(run).cause == Cause.POISON


def test_a_person_may_let_poison_out_and_it_begins_anew(desk: Desk, witness: Hand) -> None:
    run = desk.submit({"a": job()})
    for number in (1, 2, 3):
        die_with(desk, "a", number, alive=witness)
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "retry", desk.now)])))
    desk.wait(seconds=1)
    assert [alert.over for alert in desk.alerts if alert.kind == "task-poison"] == [False, True]
    for number in (4, 5):
        die_with(desk, "a", number, alive=witness)
    assert desk.states(run) == {"a": State.READY}


def test_a_worker_that_says_that_it_was_killed_counts_at_once(desk: Desk) -> None:
    run = desk.submit({"a": job()})
    for number in range(1, 4):
        hand = jobber("one", boot=f"b{number}")
        desk.hire(hand)
        grant = start(desk, hand, "a")
        life = EndedLife(run=grant.run, n=grant.n, attempt=grant.attempt, boot=hand.boot, token=grant.token)
        desk.deliver(jobber("one", boot=f"b{number + 1}").beat(ended=[life]))
    assert desk.task(run).cause == Cause.POISON


def test_a_worker_that_leaves_as_planned_did_not_die(desk: Desk) -> None:
    run = desk.submit({"a": job()})
    for number in range(1, 6):
        hand = jobber("one", boot=f"b{number}")
        desk.hire(hand)
        grant = start(desk, hand, "a")
        life = EndedLife(run=grant.run, n=grant.n, attempt=grant.attempt, boot=hand.boot, token=grant.token)
        desk.deliver(hand.beat(ended=[life], state="leaving"))
    assert desk.states(run) == {"a": State.READY}


def test_when_nobody_is_heard_nobody_is_dead(desk: Desk) -> None:
    run = desk.submit({"a": job()})
    for number in range(1, 6):
        hand = jobber(f"w{number}", boot=f"b{number}")
        desk.hire(hand)
        start(desk, hand, "a")
        desk.wait(seconds=DEAD)
    assert desk.states(run) == {"a": State.READY}


def test_a_life_that_is_heard_again_was_not_dead(desk: Desk, witness: Hand) -> None:
    run = desk.submit({"a": job()})
    for number in range(1, 6):
        die_with(desk, "a", number, alive=witness)
        desk.deliver(jobber(f"w{number}", boot=f"b{number}").beat(state="draining"))
    assert desk.states(run) == {"a": State.READY}


def test_bystanders_are_told_from_the_culprit(desk: Desk, witness: Hand) -> None:
    """Two tasks die together with two workers; from then on they are kept apart, and only one goes on killing."""
    run = desk.submit({"a": job(), "b": job()})
    for number in (1, 2):
        hand = jobber(f"w{number}", slots=2, boot=f"b{number}")
        desk.hire(hand)
        desk.wait(seconds=1)
        grants = [start(desk, hand, name) for name in ("a", "b")]
        kill(desk, *((hand, grant) for grant in grants), alive=witness)
    desk.orders.clear()
    third = jobber("w3", slots=2, boot="b3")
    desk.hire(third)
    desk.wait(seconds=1)
    assert [order.task_name for order in desk.orders] == ["a"], "one suspect at a time on one host"
    desk.deliver(third.report(start(desk, third, "a")))
    desk.wait(seconds=1)
    start(desk, third, "b")
    kill(desk, alive=witness)
    assert desk.states(run) == {"a": State.SUCCEEDED, "b": State.FAILED}


def test_three_power_cuts_do_not_make_thirty_bystanders_poison(desk: Desk, witness: Hand) -> None:
    run = desk.submit({f"a{n}": job() for n in range(30)})
    for number in (1, 2, 3):
        hands = [jobber(f"w{k}", slots=10, boot=f"b{number}x{k}") for k in range(3)]
        desk.orders.clear()
        desk.deliver(*(hand.beat(host="node7") for hand in hands))
        desk.wait(seconds=1)
        for n, order in enumerate(list(desk.orders)):
            desk.deliver(next(h for h in hands if h.name == f"w{n % 3}").claim(order))
        kill(desk, alive=witness)
    failed = [name for name, state in desk.states(run).items() if state is State.FAILED]
    assert len(failed) <= 1


def test_a_suspect_travels_alone_and_is_claimed(desk: Desk, witness: Hand) -> None:
    del witness
    one, two = Hand("one"), Hand("two")
    desk.hire(one)
    run = desk.submit({"a": call(once=True)})
    start(desk, one, "a")
    desk.deliver(two.beat())
    kill(desk, alive=two)
    lane, names, claim = desk.routes[-1]
    assert (lane, names, claim) == ("worker.two", ["a"], True)
    assert desk.states(run) == {"a": State.ORDERED}


def test_what_died_goes_to_nobody_who_has_missed_a_heartbeat(desk: Desk, witness: Hand) -> None:
    one, two = jobber("one"), jobber("two", boot="b2")
    desk.hire(one)
    run = desk.submit({"a": job()})
    start(desk, one, "a")
    desk.wait(seconds=DEAD - 26)
    desk.deliver(witness.beat(), two.beat())
    for _ in range(2):
        desk.wait(seconds=13)
        desk.deliver(witness.beat())
    assert desk.states(run) == {"a": State.READY}
    desk.deliver(two.beat())
    assert desk.states(run) == {"a": State.ORDERED}


@pytest.mark.parametrize(("beats", "goes_to"), [(True, "worker.two"), (False, "worker.three")])
def test_an_order_for_one_worker_waits_as_long_as_that_one_is_heard(
    beats: bool, goes_to: str, desk: Desk, witness: Hand
) -> None:
    one, two, three = jobber("one"), jobber("two", boot="b2"), jobber("three", boot="b3")
    desk.hire(one)
    run = desk.submit({"a": job()})
    start(desk, one, "a")
    kill(desk, alive=witness)
    desk.deliver(two.beat())
    assert desk.states(run) == {"a": State.ORDERED}
    for _ in range(3):
        desk.wait(seconds=7)
        desk.deliver(three.beat(), *([two.beat()] if beats else []))
    assert desk.routes[-1][0] == goes_to


# ── the penalty box ─────────────────────────────────────────────────────────────────────────────────────────────


def fail_at(desk: Desk, hand: Hand, runs: int, **report: Any) -> list[RunId]:
    """Let a worker fail at tasks, one after another."""
    found = []
    for _ in range(runs):
        found.append(desk.submit({"a": job()}))
        grant = start(desk, hand, "a")
        desk.deliver(hand.report(grant, Outcome.FAILED, **report))
    return found


def test_a_full_disk_puts_a_host_in_quarantine_and_a_probe_brings_it_back(desk: Desk) -> None:
    one = jobber("one", slots=4)
    desk.hire(one, jobber("two", slots=0))
    other = jobber("other", slots=4)
    fail_at(desk, one, 3, cause=Cause.ERROR, message="no space left on device", blames_host=True)
    desk.deliver(other.beat(), one.beat())
    desk.wait(seconds=1)
    assert 0 in limits(one)
    assert one.limits[-1].reason == "the penalty box: no space left on device"
    assert [(alert.subject, alert.site) for alert in desk.alerts if alert.kind == "host-set-aside"] == [
        ("one", "local")
    ]
    desk.wait(seconds=FIRST.total_seconds())
    desk.deliver(one.beat(limit=0), other.beat())
    desk.wait(seconds=1)
    assert limits(one)[-1] == 1, "a probe"
    desk.orders.clear()
    desk.submit({"p": job()})
    desk.deliver(one.report(desk.grant(one, desk.take_order("p"))))
    desk.deliver(one.beat(limit=1))
    desk.wait(seconds=1)
    assert limits(one)[-1] is None
    assert [alert.over for alert in desk.alerts if alert.kind == "host-set-aside"] == [False, True]


def test_what_a_users_command_returns_is_not_held_against_a_host(desk: Desk) -> None:
    one = jobber("one")
    desk.hire(one, jobber("two"))
    fail_at(desk, one, 10, cause=Cause.EXIT, exit_code=1, message="it ended with exit code 1")
    desk.wait(seconds=1)
    assert not one.limits


def test_a_task_that_kills_its_worker_again_and_again_is_one_strike_against_a_host(desk: Desk, witness: Hand) -> None:
    desk.submit({"a": job()})
    for number in (1, 2, 3):
        hand = jobber("w", boot=f"b{number}")
        desk.hire(hand)
        desk.wait(seconds=1)
        start(desk, hand, "a")
        kill(desk, alive=witness)
    (penalty,) = desk.do(lambda tx: tx.restraints.penalties())
    assert (penalty.host, penalty.strikes) == ("w", 1)


def stage_at(desk: Desk, hand: Hand, outcome: Outcome, *, workflow: str, **more: Any) -> None:
    desk.submit({workflow: {"stage": [{"from": "file:/tmp/x", "to": "x"}]}})
    desk.deliver(hand.report(start(desk, hand, workflow), outcome, **more))


def test_staging_that_fails_where_others_can_is_the_hosts_trouble(desk: Desk) -> None:
    one, two = Hand("one", Kind.STAGE), Hand("two", Kind.STAGE)
    desk.hire(one, two)
    stage_at(desk, two, Outcome.SUCCEEDED, workflow="a")
    for name in ("b", "c", "d"):
        stage_at(desk, one, Outcome.FAILED, workflow=name, cause=Cause.STAGE, message="no route to host")
    desk.wait(seconds=1)
    assert limits(one)[-1] == 0


def test_staging_that_nobody_can_do_is_no_hosts_trouble(desk: Desk) -> None:
    one, two = Hand("one", Kind.STAGE), Hand("two", Kind.STAGE)
    desk.hire(one, two)
    stage_at(desk, two, Outcome.SUCCEEDED, workflow="a")
    for name in ("b", "c", "d"):
        for hand in (two, one):
            stage_at(desk, hand, Outcome.FAILED, workflow=name, cause=Cause.STAGE, message="there is no such file")
    desk.wait(seconds=1)
    assert 0 not in limits(one)


def test_a_worker_that_lets_its_orders_lapse_gets_them_last(desk: Desk) -> None:
    zombie, other = jobber("zombie", slots=9), jobber("other", slots=2)
    desk.hire(zombie, other)
    desk.submit({"a": job(weight=2)})
    assert desk.routes[-1][0] == "worker.zombie"
    for _ in range(7):
        desk.wait(seconds=10)
        desk.deliver(zombie.beat(), other.beat())
    assert desk.routes[-1][0] == "worker.other"
    grant = desk.grant(other, desk.take_order())
    desk.deliver(other.report(grant))


def test_what_is_held_for_a_worker_that_is_gone_takes_nothing_from_the_others(desk: Desk) -> None:
    gone, there = jobber("gone", slots=2), jobber("there", boot="b2", slots=2)
    desk.hire(gone)
    desk.submit({"a": job(on_lost="hold"), "b": job(on_lost="hold")})
    for name in ("a", "b"):
        start(desk, gone, name)
    kill(desk, alive=there)
    desk.wait(hours=1)
    desk.crash()
    desk.deliver(there.beat())
    run = desk.submit({"c": job(), "d": job()})
    assert set(desk.states(run).values()) == {State.ORDERED}


def test_what_a_host_was_to_do_goes_to_others_also_if_it_beats_meanwhile(desk: Desk) -> None:
    one, two = jobber("one", slots=2), jobber("two", slots=2)
    desk.hire(one)
    desk.submit({"a": job(weight=2)})
    assert desk.routes[-1][0] == "worker.one"
    drain(desk, "worker", "one")
    desk.engine.book.fleet.limits.drains = {("worker", "one"): Drain("worker", "one", "anna", "", desk.now)}
    desk.deliver(one.beat(), two.beat())
    desk.wait(seconds=2)
    assert desk.routes[-1][0] == "worker.two"
