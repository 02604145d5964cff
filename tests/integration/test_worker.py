"""A worker beside a scheduler that the test plays: claims, leases, reports, stops."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from owner import EPOCH, Life, LoopClock, Owner, Scripted, for_ever, in_virtual_time
from warrener import topology
from warrener.broker import Delivery
from warrener.errors import Cause, TaskFailed
from warrener.ids import BootId
from warrener.messages import Claims, Kind, Outcome, Reports
from warrener.performer import Assignment
from warrener.runtime import crash
from warrener.site import Site
from warrener.worker import FolderSpool, MemorySpool

SITE = Site("s1", Path("/nonexistent"))


def virtual(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on virtual time."""

    @functools.wraps(test)
    def run() -> None:
        in_virtual_time(test)

    return run


async def an_owner() -> Owner:
    owner = Owner()
    await owner.listen()
    return owner


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def granted(owner: Owner, n: int = 0, **fields: Any) -> Claims:
    await owner.order(owner.make(n, **fields))
    claims = await owner.claims()
    await owner.grant(claims)
    return claims


@virtual
async def test_a_claimed_order_runs_once_granted_and_is_reported_until_its_receipt() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE) as life:
        await owner.order(owner.make())
        claims = await owner.claims()
        assert claims.site == "s1"
        assert not performer.begun
        await owner.grant(claims)
        report = await owner.report()
        assert (report.outcome, report.output) == (Outcome.SUCCEEDED, {"n": 0})
        assert report.token == owner.token(report)
        assert report.ref in life.spool.entries
        assert await owner.report() == report  # no receipt came: again
        await owner.receive(report)
        await performer.until(lambda: performer.forgotten == [report.ref])
        assert not life.spool.entries
    assert owner.nothing(Reports)
    assert not len(owner.queue("orders.job"))


@virtual
async def test_a_refused_order_is_dropped() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE):
        await owner.order(owner.make())
        await owner.refuse(await owner.claims())
        await granted(owner, 1)
        await owner.report()
    assert [ref.n for ref in performer.begun] == [1]
    assert not len(owner.queue("orders.job"))


@virtual
async def test_a_grant_of_another_life_or_another_claim_starts_nothing() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE):
        await owner.order(owner.make())
        claims = await owner.claims()
        await owner.answer(boot="other", grants=[owner.granted(claims.claims[0], claims.seq)])
        await owner.answer(grants=[owner.granted(claims.claims[0], claims.seq + 7)])
        again = await owner.claims()  # after ten seconds without a proper answer
        assert again.seq > claims.seq
        assert now_s() >= 10
        assert not performer.begun
        await owner.grant(again)
        await owner.report()
        await owner.grant(again)  # already finished in this life
        await owner.answer(grants=[owner.granted(claims.claims[0], claims.seq)])
        beat = await owner.heartbeat()
        assert beat.boot == owner.boot
    assert len(performer.begun) == 1


@virtual
async def test_without_any_answer_the_order_goes_back_and_pulling_rests() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE):
        await owner.order(owner.make())
        for _ in range(3):
            await owner.claims()
        await asyncio.sleep(10.1)
        assert len(owner.queue("orders.job")) == 1
        claims = await owner.claims()  # after the rest
        await owner.grant(claims)
        await owner.report()


@virtual
async def test_a_rest_is_never_long_and_ends_at_once_when_a_scheduler_calls_the_roll() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE):
        await owner.order(owner.make())
        for _ in range(6):  # times that nobody answers
            for _ in range(3):
                last_s = now_s() if await owner.claims() else 0.0
        await owner.claims()
        assert now_s() - last_s < 10 + 15.1
        await asyncio.sleep(31)
        assert len(owner.queue("orders.job")) == 1  # it rests again
        called_s = now_s()
        await owner.call_roll()
        while not owner.nothing(Claims):
            await owner.claims()
        await owner.grant(await owner.claims())
        await owner.report()
        assert now_s() == called_s


@virtual
async def test_a_grant_that_comes_too_late_for_its_lease_does_not_start() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE):
        await owner.order(owner.make(lease_s=8.0))
        claims = await owner.claims()
        await asyncio.sleep(7.0)
        await owner.grant(claims)
        await granted(owner, 1)
        await owner.report()
    assert [ref.n for ref in performer.begun] == [1]


@virtual
async def test_claims_that_come_up_together_travel_together() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE, slots=10):
        await owner.order(*(owner.make(n) for n in range(5)))
        claims = await owner.claims()
        assert [claim.n for claim in claims.claims] == [0, 1, 2, 3, 4]
        await owner.grant(claims)
        done: set[int] = set()
        while len(done) < 5:
            done |= {report.n for report in (await owner.reports()).reports}


@virtual
async def test_heartbeats_list_what_is_held_and_their_answers_extend_the_leases() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE):
        claims = await granted(owner)
        while now_s() < 100:
            beat = await owner.heartbeat(lambda beat: bool(beat.attempts))
            assert beat.attempts[0].token == owner.token(claims.claims[0])
            assert beat.free == 1
            sent_s = now_s()
            await owner.extend(beat)
            await performer.until(functools.partial(_extended, performer, sent_s + 30))
        assert not performer.stopped
        await owner.stop(claims.claims[0], "cancelled")
        assert (await owner.report()).outcome is Outcome.CANCELLED


def _extended(performer: Scripted, until_s: float) -> bool:
    return until_s in performer.extensions


@virtual
async def test_without_extension_the_work_stops_before_its_lease_ends_and_nothing_is_reported() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE):
        claims = await granted(owner)
        began_s = now_s()
        await performer.until(lambda: bool(performer.forgotten))
        assert performer.stopped == [(claims.claims[0].ref, "not yours")]
        assert 24 <= now_s() - began_s <= 25.1
        beat = await owner.heartbeat(lambda beat: beat.seq > 3 and not beat.attempts)
        assert beat.free == 2
    assert owner.nothing(Reports)


@virtual
async def test_the_lease_also_runs_while_the_host_sleeps() -> None:
    owner, performer, clock = await an_owner(), Scripted(), LoopClock()
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE, clock=clock):
        await granted(owner)
        await performer.until(lambda: bool(performer.begun))
        clock.ahead_s = 3600
        woken_s = now_s()
        await performer.until(lambda: bool(performer.stopped) or bool(performer.forgotten))
        assert now_s() - woken_s <= 1.1


@virtual
async def test_work_that_no_copy_follows_runs_on_without_a_lease() -> None:
    owner, performer = await an_owner(), Scripted()
    gate = asyncio.Event()

    async def wait(_assignment: Assignment) -> str:
        await gate.wait()
        return "done"

    performer.acts[0] = wait
    async with Life(owner, performer, SITE):
        await granted(owner, on_lost="hold")
        await asyncio.sleep(100)
        gate.set()
        assert (await owner.report()).output == "done"


@virtual
async def test_a_stop_ends_the_work_as_its_reason_says() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts = {0: for_ever, 1: for_ever}
    async with Life(owner, performer, SITE):
        one, two = await granted(owner, 0), await granted(owner, 1)
        await performer.until(lambda: len(performer.begun) == 2)
        await owner.stop(one.claims[0], "not yours")
        await owner.stop(two.claims[0], "cancelled")
        report = await owner.report()
        assert (report.n, report.outcome) == (1, Outcome.CANCELLED)
        await performer.until(lambda: len(performer.forgotten) == 1)
    assert dict(performer.stopped) == {one.claims[0].ref: "not yours", two.claims[0].ref: "cancelled"}


@virtual
async def test_a_stop_that_comes_with_the_grant_is_heeded() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE):
        await owner.order(owner.make())
        claims = await owner.claims()
        await owner.stop(claims.claims[0], "cancelled")
        await owner.grant(claims)
        assert (await owner.report()).outcome is Outcome.CANCELLED
    assert not performer.begun


@virtual
async def test_success_before_the_kill_is_success() -> None:
    owner, performer = await an_owner(), Scripted()

    async def finishes_anyway(_assignment: Assignment) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        raise AssertionError

    performer.acts[0] = finishes_anyway
    async with Life(owner, performer, SITE):
        claims = await granted(owner)
        await performer.until(lambda: bool(performer.begun))
        await owner.stop(claims.claims[0], "cancelled")
        report = await owner.report()
        assert (report.outcome, report.output) == (Outcome.SUCCEEDED, "done")


@virtual
async def test_whatever_a_performer_raises_is_a_report() -> None:
    owner, performer = await an_owner(), Scripted(Kind.STAGE)

    async def fail(_assignment: Assignment) -> None:
        raise TaskFailed(Cause.STAGE, "no such\0file", exit_code=3)

    async def break_down(_assignment: Assignment) -> None:
        raise ZeroDivisionError("by zero")

    async def output(value: Any) -> Any:
        return value

    async def cancel_itself(_assignment: Assignment) -> None:
        raise asyncio.CancelledError

    performer.acts = {
        0: fail, 1: break_down, 2: lambda _: output({1, 2}), 3: lambda _: output("x" * 70_000),
        4: lambda _: output({"nan": float("nan")}), 5: for_ever, 6: cancel_itself,
    }  # fmt: skip
    async with Life(owner, performer, SITE, slots=7):
        for n in range(7):
            order = owner.make(n, kind=Kind.STAGE, timeout_s=3.0)
            await owner.order(order, lane="stage")
            await owner.grant(await owner.claims())
        reports = {}
        while len(reports) < 7:
            reports |= {report.n: report for report in (await owner.reports()).reports}
    assert [reports[n].cause for n in range(7)] == [
        Cause.STAGE, Cause.ERROR, Cause.ERROR, Cause.ERROR, Cause.ERROR, Cause.TIMEOUT, Cause.ERROR,
    ]  # fmt: skip
    assert "\0" not in reports[0].message
    assert reports[0].exit_code == 3
    assert "ZeroDivisionError: by zero" in reports[1].message
    assert "break_down" in reports[1].message
    assert "not JSON" in reports[2].message
    assert "70,002 bytes" in reports[3].message
    assert "timeout of 3 s" in reports[5].message


@virtual
async def test_a_forged_or_unreadable_order_is_parked_and_never_run() -> None:
    owner, performer = await an_owner(), Scripted()
    await owner.broker.declare([topology.PARKED_QUEUE])
    parked = await owner.broker.subscribe([topology.PARKED_QUEUE], prefetch=10)
    async with Life(owner, performer, SITE):
        await owner.order(owner.make(), signature="00" * 64)
        await owner.order(owner.make(), signature="")
        await owner.order(owner.make(kind=Kind.ENV))
        found = []
        while len(found) < 3:
            found += await parked.take(10)
    assert not performer.begun
    assert owner.nothing(Claims)
    assert [delivery.headers["origin_routing_key"] for delivery in found] == ["job"] * 3
    assert "no scheduler of this deployment signed" in found[0].headers["reason"]
    assert {delivery.headers["origin_kind"] for delivery in found} == {"orders/1"}
    assert not len(owner.queue("orders.job"))


@virtual
async def test_a_full_worker_leaves_orders_to_others() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts = {0: for_ever, 1: for_ever}
    async with Life(owner, performer, SITE):
        ones = [await granted(owner, 0), await granted(owner, 1)]
        for n in (2, 3, 4):
            await owner.order(owner.make(n))
        await asyncio.sleep(0.2)
        other = await owner.broker.subscribe([topology.orders("job")], prefetch=10)
        assert len(await other.take(10)) == 3
        await other.close()
        assert owner.nothing(Claims)
        await owner.stop(ones[0].claims[0], "not yours")
        claims = await owner.claims()
        assert claims.claims[0].n == 2


@virtual
async def test_a_heavy_order_waits_for_enough_slots_and_takes_them() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts = {0: for_ever, 1: for_ever}
    async with Life(owner, performer, SITE, slots=4):
        await granted(owner, 0, weight=3)
        assert (await owner.heartbeat(lambda beat: bool(beat.attempts))).free == 1
        await owner.order(owner.make(1, weight=9))
        await asyncio.sleep(1)
        assert owner.nothing(Claims)


@virtual
async def test_a_heavy_order_goes_back_seldom_and_comes_as_soon_as_it_fits() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE, slots=4) as life:
        ones = await granted(owner, 0, weight=3)
        await performer.until(lambda: bool(performer.begun))
        returns = counted_returns(life)
        await owner.order(owner.make(1, weight=4))
        await asyncio.sleep(22)
        assert 1 <= len(returns) <= 5
        await owner.stop(ones.claims[0], "not yours")
        freed_s = now_s()
        assert [claim.n for claim in (await owner.claims()).claims] == [1]
        assert now_s() == freed_s


@virtual
async def test_what_is_light_is_taken_once_another_worker_has_the_heavy_order() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE, slots=4):
        await granted(owner, 0, weight=3)
        await owner.order(owner.make(1, weight=4))
        await owner.order(owner.make(2))
        await asyncio.sleep(1)
        other = await owner.broker.subscribe([topology.orders("job")], prefetch=10)
        [heavy] = await other.take(1)
        await other.settle([heavy])
        await other.close()
        async with asyncio.timeout(10):
            assert [claim.n for claim in (await owner.claims()).claims] == [2]


def counted_returns(life: Life) -> list[int]:
    """Note how many deliveries this worker gives back, each time that it does."""
    subscription, returns = life.service._intake._subscription, list[int]()
    assert subscription is not None
    give_back = subscription.give_back

    async def noted(deliveries: Iterable[Delivery]) -> None:
        some = list(deliveries)
        returns.append(len(some))
        await give_back(some)

    subscription.give_back = noted  # type: ignore[method-assign]
    return returns


@virtual
async def test_a_rollcall_is_answered_at_once() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE, load=lambda: 0.5):
        asked_s = now_s()
        await owner.call_roll()
        beat = await owner.heartbeat()
        assert now_s() == asked_s
        assert (beat.worker, beat.state, beat.slots, beat.free, beat.load) == ("w1", "up", 2, 2, 0.5)
    assert (await owner.heartbeat(lambda beat: beat.state == "leaving")).boot == beat.boot


@virtual
async def test_a_new_life_sends_the_spool_again_under_the_old_boot() -> None:
    owner, performer, spool = await an_owner(), Scripted(), MemorySpool()
    life = Life(owner, performer, SITE, spool=spool)
    await life.__aenter__()
    await granted(owner)
    first = await owner.reports()
    await life.kill()
    assert spool.entries
    async with Life(owner, performer, SITE, spool=spool) as second:
        again = await owner.reports()
        assert again == first
        assert again.boot != second.service.who.boot
        assert (await owner.heartbeat(lambda beat: bool(beat.attempts))).attempts[0].token == first.reports[0].token
        await owner.receive(first.reports[0], boot=first.boot)  # whatever life it is meant for
        await performer.until(lambda: performer.forgotten == [first.reports[0].ref])
    assert not spool.entries
    assert len(performer.begun) == 1


@virtual
async def test_a_new_life_takes_back_what_an_earlier_one_left() -> None:
    owner, performer = await an_owner(), Scripted()
    gate = asyncio.Event()

    async def wait(_assignment: Assignment) -> str:
        await gate.wait()
        return "joined"

    order = owner.make()
    token = owner.token(order, "old")
    performer.acts[0] = wait
    performer.left = [Assignment(order, SITE, token, BootId("old"), now_s() - 5, lambda *_: None)]
    async with Life(owner, performer, SITE):
        await owner.call_roll()
        beat = await owner.heartbeat()
        assert (beat.attempts[0].token, beat.free) == (token, 1)
        await owner.extend(beat)
        await asyncio.sleep(20)  # longer than the old lease, and than the time given to join
        gate.set()
        reports = await owner.reports()
        assert (reports.boot, reports.reports[0].token, reports.reports[0].output) == ("old", token, "joined")


@virtual
async def test_a_job_is_left_to_its_runner_when_its_worker_stops() -> None:
    owner, performer = await an_owner(), Scripted()
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE):
        claims = await granted(owner)
        await performer.until(lambda: bool(performer.begun))
        stopped_s = now_s()
    assert performer.stopped == [(claims.claims[0].ref, None)]
    assert now_s() == stopped_s
    leaving = await owner.heartbeat(lambda beat: beat.state == "leaving")
    assert [held.n for held in leaving.attempts] == [0]


@virtual
async def test_other_work_may_finish_within_the_grace_and_is_reported() -> None:
    owner, performer = await an_owner(), Scripted(Kind.ENV)

    async def wait(_assignment: Assignment) -> str:
        await asyncio.sleep(3)
        return "built"

    performer.acts = {0: wait, 1: for_ever}
    async with Life(owner, performer, SITE, slots=2):
        for n in (0, 1):
            await owner.order(owner.make(n, kind=Kind.ENV), lane="env")
            await owner.grant(await owner.claims())
        await performer.until(lambda: len(performer.begun) == 2)
        await owner.order(owner.make(2, kind=Kind.ENV), lane="env")
    assert (await owner.report()).output == "built"
    assert performer.stopped[0][1] is None
    assert now_s() < 6
    assert len(owner.queue("orders.env")) == 1


@virtual
async def test_an_order_in_question_goes_back_when_the_worker_stops() -> None:
    owner, performer = await an_owner(), Scripted()
    async with Life(owner, performer, SITE):
        await owner.order(owner.make())
        await owner.claims()
    assert len(owner.queue("orders.job")) == 1


@virtual
async def test_what_an_attempt_prints_arrives_in_order_and_bounded() -> None:
    owner, performer = await an_owner(), Scripted()

    async def chat(assignment: Assignment) -> None:
        assignment.log("stdout", "one\n")
        assignment.log("stdout", "two\0\n")
        assignment.log("stderr", "x" * 2_000_000)
        assignment.log("stderr", "dropped")

    performer.acts[0] = chat
    async with Life(owner, performer, SITE):
        await granted(owner)
        text = {"stdout": "", "stderr": ""}
        while "dropped" not in text["stderr"]:
            for chunk in (await owner.logs()).chunks:
                assert chunk.offset == len(text[chunk.stream])
                assert len(chunk.text) <= 65_536
                text[chunk.stream] += chunk.text
    assert text["stdout"] == "one\ntwo\N{REPLACEMENT CHARACTER}\n"
    assert len(text["stderr"]) < 1_050_000
    assert "the rest was dropped" in text["stderr"]


@virtual
async def test_an_old_order_is_claimed_even_if_it_was_direct() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    async with Life(owner, performer, SITE):
        order = owner.make(kind=Kind.CALL, app="app")
        await owner.order(order, lane="call.app", claim=False, issued_at=EPOCH - timedelta(hours=2))
        claims = await owner.claims()
        assert claims.claims[0].token == order.token
        await owner.order(
            owner.make(1, kind=Kind.CALL, app="app"), lane="call.app", claim=False, headers={"claim": "1"}
        )
        assert [claim.n for claim in (await owner.claims()).claims] == [1]


@virtual
async def test_a_bundle_of_direct_calls_is_settled_when_all_its_reports_are_confirmed() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    gate = asyncio.Event()

    async def wait(_assignment: Assignment) -> str:
        await gate.wait()
        return "late"

    performer.acts[1] = wait
    life = Life(owner, performer, SITE, slots=4)
    await life.__aenter__()
    orders = [owner.make(n, kind=Kind.CALL, app="app") for n in range(3)]
    await owner.order(*orders, lane="call.app", claim=False)
    reports = (await owner.reports()).reports
    if len(reports) == 1:
        reports += (await owner.reports()).reports
    assert sorted(report.n for report in reports) == [0, 2]
    assert {report.token for report in reports} == {orders[0].token, orders[2].token}
    await life.kill()
    # The whole order comes back, marked; of it only what is open is granted again.
    performer.acts.clear()
    async with Life(owner, performer, SITE, slots=4):
        claims = await owner.claims()
        assert [claim.n for claim in claims.claims] == [0, 1, 2]
        await owner.answer(
            refusals=[
                {"run": owner.run, "n": n, "attempt": 1, "reason": "superseded", "seq": claims.seq} for n in (0, 2)
            ],
            grants=[owner.granted(claims.claims[1], claims.seq)],
        )
        assert (await owner.report()).n == 1
    assert not len(owner.queue("orders.call.app"))


@virtual
async def test_a_call_that_waits_does_not_hold_up_the_rest_of_its_bundle() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    gate = asyncio.Event()

    async def wait(_assignment: Assignment) -> None:
        await gate.wait()

    performer.acts = {0: wait, 3: wait}
    async with Life(owner, performer, SITE, slots=3):
        await owner.order(*(owner.make(n, kind=Kind.CALL, app="app") for n in range(6)), lane="call.app", claim=False)
        done: set[int] = set()
        while len(done) < 4:
            done |= {report.n for report in (await owner.reports()).reports}
        assert done == {1, 2, 4, 5}
        gate.set()


@virtual
async def test_a_duplicate_of_a_direct_call_is_dropped() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    async with Life(owner, performer, SITE):
        order = owner.make(kind=Kind.CALL, app="app")
        for _ in range(3):
            await owner.order(order, lane="call.app", claim=False)
        await owner.report()
        await owner.order(order, lane="call.app", claim=False)
        await owner.order(owner.make(1, kind=Kind.CALL, app="app"), lane="call.app", claim=False)
        assert (await owner.report()).n == 1
    assert [ref.n for ref in performer.begun] == [0, 1]
    assert not len(owner.queue("orders.call.app"))


@virtual
async def test_a_long_direct_call_asks_for_a_lease_and_is_a_claimed_one_from_then_on() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    gate = asyncio.Event()

    async def wait(_assignment: Assignment) -> str:
        await gate.wait()
        return "long"

    performer.acts[0] = wait
    async with Life(owner, performer, SITE) as life:
        order = owner.make(kind=Kind.CALL, app="app")
        await owner.order(order, lane="call.app", claim=False)
        began_s = now_s()
        claims = await owner.claims()
        assert claims.claims[0].token == order.token
        assert 1 <= now_s() - began_s <= 1.5
        await owner.grant(claims)
        beat = await owner.heartbeat(lambda beat: bool(beat.attempts))
        assert beat.attempts[0].token == owner.token(order)
        assert not len(owner.queue("orders.call.app"))
        gate.set()
        report = await owner.report()
        assert (report.output, report.token) == ("long", owner.token(order))
        assert report.ref in life.spool.entries


@virtual
async def test_the_report_of_a_long_call_waits_for_the_answer_to_its_claim() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    gate = asyncio.Event()

    async def wait(_assignment: Assignment) -> str:
        await gate.wait()
        return "long"

    performer.acts = {0: wait, 1: for_ever}
    async with Life(owner, performer, SITE):
        orders = [owner.make(n, kind=Kind.CALL, app="app") for n in (0, 1)]
        await owner.order(*orders, lane="call.app", claim=False)
        claims = await owner.claims()
        gate.set()
        await asyncio.sleep(1)
        assert owner.nothing(Reports)
        one, two = claims.claims
        await owner.answer(
            grants=[owner.granted(one, claims.seq)],
            refusals=[{"run": two.run, "n": two.n, "attempt": 1, "reason": "superseded", "seq": claims.seq}],
        )
        report = await owner.report()
        await owner.receive(report)
        assert (report.n, report.token) == (0, owner.token(one))
        assert performer.stopped == [(two.ref, "not yours")]
        assert (await owner.heartbeat(lambda beat: beat.free == 2)).free == 2
    assert owner.nothing(Reports)


@virtual
async def test_more_calls_than_slots_run_one_after_another() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    at_once = most = 0

    async def count(_assignment: Assignment) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1

    performer.acts = dict.fromkeys(range(40), count)
    async with Life(owner, performer, SITE, slots=3):
        await owner.order(*(owner.make(n, kind=Kind.CALL, app="app") for n in range(40)), lane="call.app", claim=False)
        done = 0
        while done < 40:
            done += len((await owner.reports()).reports)
    assert most == 3


@virtual
async def test_a_timed_out_call_is_interrupted_and_the_next_one_runs() -> None:
    owner, performer = await an_owner(), Scripted(Kind.CALL)
    performer.acts[0] = for_ever
    async with Life(owner, performer, SITE, slots=1):
        orders = [owner.make(n, kind=Kind.CALL, app="app", timeout_s=0.5) for n in (0, 1)]
        await owner.order(*orders, lane="call.app", claim=False)
        one = (await owner.reports()).reports
        two = one[1:] or (await owner.reports()).reports
        assert (one[0].outcome, one[0].cause) == (Outcome.FAILED, Cause.TIMEOUT)
        assert two[-1].outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("point", [name for name in crash.CRASH_POINTS if name.startswith("worker.")])
def test_a_worker_that_dies_anywhere_loses_no_finished_attempt(point: str) -> None:
    """Each attempt ends in one report of its grant, or its order is still there, or its lease will run out."""

    async def main() -> None:
        owner, spool = await an_owner(), MemorySpool()
        performer = Scripted(Kind.CALL)
        crashed = asyncio.Event()

        def die() -> None:
            life.cut_off()
            crashed.set()
            raise SystemError("killed")

        life = Life(owner, performer, SITE, spool=spool)
        await life.__aenter__()
        crash.arm(point, die)
        once = owner.make(0, kind=Kind.CALL)
        await owner.order(once, lane="call.app")
        await owner.order(owner.make(1, kind=Kind.CALL, app="app"), lane="call.app", claim=False)
        await owner.order(owner.make(2, kind=Kind.CALL), lane="call.app", signature="")
        replies = asyncio.create_task(_reply(owner))
        await crashed.wait()
        crash.arm(None)
        await life.kill()
        async with Life(owner, performer, SITE, spool=spool):
            await asyncio.sleep(40)
        assert not spool.entries
        assert not len(owner.queue("orders.call.app"))
        assert len(owner.queue("parked")) in (1, 2)
        replies.cancel()
        done = {report.n for reports in _reports(owner) for report in reports.reports}
        # Granted and not finished: the scheduler's sweep places it anew; everything else was reported.
        lost = {"worker.granted": 0, "worker.settled-order": 0, "worker.performed": 0}.get(point)
        assert done | {lost} >= {0, 1}

    def _reports(owner: Owner) -> list[Reports]:
        return kept

    kept: list[Reports] = []

    async def _reply(owner: Owner) -> None:
        async def grants() -> None:
            while True:
                await owner.grant(await owner.claims())

        async def receipts() -> None:
            while True:
                reports = await owner.reports()
                kept.append(reports)
                await owner.receive(*reports.reports)

        await asyncio.gather(grants(), receipts())

    try:
        in_virtual_time(main)
    finally:
        crash.arm(None)


async def test_a_claimed_attempt_leaves_a_file_until_its_receipt(tmp_path: Path) -> None:
    owner, performer = await an_owner(), Scripted()
    site = Site("s1", tmp_path)
    folder = site.spool("w1")  # type: ignore[arg-type]
    async with Life(owner, performer, site, spool=FolderSpool(folder)):
        await granted(owner)
        report = await owner.report()
        assert [path.name for path in folder.glob("*.json")] == [f"{report.run}-0-1.json"]
        await owner.receive(report)
        await performer.until(lambda: bool(performer.forgotten))
        assert not list(folder.glob("*.json"))
    await owner.close()
