"""Several schedulers: what one does for the shards of others, and how they share the slots of a lane."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from desk import Desk, Hand, call, job
from warrener.errors import Fenced
from warrener.ids import shard_of
from warrener.messages import CancelRuns, Demand, Kind, LaneDemand, RunRequest, Wake
from warrener.states import State
from warrener_services.scheduler.peers import SILENT

LANE = "call.demo"


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Lend one of two schedulers; what the other one owns is in the store, and not in its book."""
    desk = Desk()
    desk.engine.book.peers.name = "here"
    desk.engine.book.peers.others = {"there"}
    yield desk
    desk.close()


def demand(ready: int, *, in_flight: int = 0, scheduler: str = "there", used: dict[str, int] | None = None) -> Demand:
    lanes = {LANE: LaneDemand(in_flight=in_flight, ready=ready)}
    return Demand(scheduler=scheduler, lanes=lanes if ready or in_flight else {}, used=used or {})


def hear(desk: Desk, *words: Demand) -> None:
    for word in words:
        desk.engine.book.peers.hear(word, desk.now)


def told(desk: Desk) -> list[Demand]:
    return [hint for hint in desk.hints if isinstance(hint, Demand)]


def heavy(number: int, weight: int = 3) -> dict[str, object]:
    return {f"t{n}": {**call(), "weight": weight} for n in range(number)}


# ── runs of other shards ─────────────────────────────────────────────────────────────────────────────────────


def test_the_owner_of_a_run_is_woken_at_once(desk: Desk) -> None:
    desk.own([0])
    desk.reply(desk.ask({"a": call()}, *(RunRequest(key=f"k{n}") for n in range(20))))
    woken = [(message.routing_key, message.kind) for message in desk.effects.loose if message.kind == Wake.KIND]
    assert woken == [("1", "wake/1"), ("2", "wake/1"), ("3", "wake/1")]


def test_the_owner_of_a_run_that_is_wanted_gone_is_woken_at_once(desk: Desk) -> None:
    run = desk.submit({"a": call()})
    desk.own([shard for shard in range(4) if shard != shard_of(run)])
    desk.hints.clear()
    desk.deliver(CancelRuns(owner="me", runs=[run]))
    assert desk.hints == [Wake(shards=[shard_of(run)])]


def test_a_wake_for_other_shards_wakes_nobody(desk: Desk) -> None:
    desk.own([0])
    desk.deliver()
    look_at = desk.engine.book.look_at
    desk.deliver(Wake(shards=[1, 2]))
    assert desk.engine.book.look_at == look_at
    desk.now += SILENT / 30
    desk.deliver(Wake(shards=[0, 2]))
    assert desk.engine.book.look_at is not None
    assert desk.engine.book.look_at > look_at


def test_what_a_fenced_scheduler_knows_is_not_said(desk: Desk) -> None:
    worker = Hand("call-a")
    desk.hire(worker)
    run = desk.submit({"a": call(once=True)})
    desk.deliver(worker.claim(desk.take_order()))
    (grant,) = worker.grants
    stale = desk.engine.book.in_flight.pop(desk.task(run).ref)  # the new owner granted it
    desk.do(lambda tx: tx.shards.take(tx.shards.all(), "there"))
    for late in (worker.beat(grant), worker.claim(grant), worker.report(grant)):
        with pytest.raises(Fenced):
            desk.deliver(late)
    assert (worker.stops, worker.refusals, worker.receipts) == ([], [], [])
    assert desk.task(run).state is stale.state is State.RUNNING


def test_the_reports_of_all_bundles_of_an_owner_go_one_way(desk: Desk) -> None:
    desk.own([1, 2, 3])
    desk.hire(Hand("call-a", slots=40))
    desk.reply(desk.ask({"a": call()}, *(RunRequest(key=f"k{n}") for n in range(20))))
    assert set(desk.homes) == {1}
    assert len({shard_of(order.run) for order in desk.orders}) == 3


# ── sharing ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_others_a_lane_is_ours_alone(desk: Desk) -> None:
    desk.engine.book.peers.others = set()
    desk.hire(Hand("call-a", slots=10))
    desk.submit({f"t{n}": call() for n in range(30)})
    assert len(desk.orders) == 10


def test_slots_are_shared_by_demand(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=10))
    hear(desk, demand(30))
    desk.submit({f"t{n}": call() for n in range(30)})
    assert len(desk.orders) == 5


def test_who_has_little_gets_one_at_least(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=10))
    hear(desk, demand(4_000))
    desk.submit({"a": call(), "b": call()})
    assert len(desk.orders) == 1


def test_a_share_grows_when_the_others_are_done(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=10))
    hear(desk, demand(30))
    desk.submit({f"t{n}": call() for n in range(30)})
    hear(desk, demand(0))
    desk.deliver()
    assert len(desk.orders) == 10


def test_the_share_of_the_silent_goes_to_the_others_after_a_while(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=10))
    hear(desk, demand(30))
    desk.submit({f"t{n}": call() for n in range(30)})
    desk.wait(seconds=SILENT.total_seconds() - 0.1)
    assert len(desk.orders) == 5
    desk.wait(seconds=0.2)
    assert len(desk.orders) == 10


def test_who_does_not_take_part_is_not_believed(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=10))
    hear(desk, demand(4_000, scheduler="nobody"), demand(4_000, scheduler="here"))
    desk.submit({f"t{n}": call() for n in range(30)})
    assert len(desk.orders) == 10


def test_what_others_placed_on_a_worker_takes_its_room(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4), Hand("call-b", slots=4))
    hear(desk, demand(0, in_flight=4, used={"call-a": 4}))
    desk.submit(heavy(2))
    assert [lane for lane, _, _ in desk.routes] == ["worker.call-b"]


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_demand_is_told_again_and_again(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=2))
    desk.submit({f"t{n}": call() for n in range(5)})
    desk.hints.clear()
    desk.wait(seconds=1)
    said = LaneDemand(in_flight=2, ready=3, queued=3, oldest_s=1)
    assert told(desk) == [Demand(scheduler="here", lanes={LANE: said}, slots={LANE: 2})]
    desk.wait(seconds=1)
    assert len(told(desk)) == 2


def test_a_turn_is_told_at_once_where_slots_are_short(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4))
    hear(desk, demand(100))
    desk.engine.book.peers.told({}, desk.now)
    desk.hints.clear()
    desk.wait(milliseconds=250)
    desk.submit({"a": call()})
    assert [one.lanes[LANE].total for one in told(desk)] == [1]
    desk.now += SILENT / 10
    desk.deliver(desk.hands["call-a"].report(desk.take_order()))
    assert [one.lanes for one in told(desk)][1:] == [{}]


def test_a_turn_is_not_told_at_once_where_there_is_room(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4))
    hear(desk, demand(1))
    desk.engine.book.peers.told({}, desk.now)
    desk.hints.clear()
    desk.wait(milliseconds=250)
    desk.submit({"a": call()})
    assert told(desk) == []


def test_who_wants_nothing_says_so_once(desk: Desk) -> None:
    desk.hire(Hand("call-a", slots=4))
    desk.submit({"a": call()})
    desk.wait(seconds=1)
    desk.deliver(desk.hands["call-a"].report(desk.take_order()))
    for _ in range(5):
        desk.wait(seconds=1)
    assert [bool(one.lanes) for one in told(desk)][-2:] == [True, False]


# ── telling, alone ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def alone(desk: Desk) -> Desk:
    desk.engine.book.peers.others = set()
    return desk


def test_one_alone_tells_a_change_once_a_second(alone: Desk) -> None:
    alone.hire(Hand("call-a", slots=2))
    alone.hints.clear()
    alone.submit({f"t{n}": call() for n in range(5)})
    alone.wait(milliseconds=900)
    assert told(alone) == []
    alone.wait(milliseconds=200)
    assert [(one.lanes[LANE].in_flight, one.lanes[LANE].queued) for one in told(alone)] == [(2, 3)]


def test_one_alone_repeats_what_has_not_changed_every_five_seconds(alone: Desk) -> None:
    alone.hire(Hand("call-a", slots=2))
    alone.hints.clear()
    for _ in range(49):
        alone.wait(milliseconds=100)
    assert told(alone) == []
    alone.wait(milliseconds=100)
    assert told(alone) == [Demand(scheduler="here", slots={LANE: 2})]


def test_demand_says_what_is_heaviest_oldest_and_how_long_tasks_run(alone: Desk) -> None:
    alone.hire(Hand("call-a", slots=4))
    alone.submit({"first": call()})
    alone.deliver(alone.hands["call-a"].report(alone.take_order("first"), seconds=3.0))
    alone.submit({"heavy": {**call(), "weight": 4}})
    alone.hints.clear()
    alone.submit({f"t{n}": {**call(), "weight": 2} for n in range(3)})
    alone.wait(seconds=7)
    said = told(alone)[-1].lanes[LANE]
    assert (said.in_flight, said.ready, said.queued, said.heaviest) == (4, 3, 6, 4)
    assert (said.oldest_s, said.mean_s) == (7.0, 3.0)


def test_demand_says_where_a_run_is_bound_to(alone: Desk) -> None:
    worker = Hand("job-a", Kind.JOB, slots=1, site="east")
    alone.hire(worker)
    alone.submit({"a": job(), "b": job(), "c": job()})
    alone.grant(worker, alone.take_order())
    alone.hints.clear()
    alone.wait(seconds=2)
    assert told(alone)[-1].lanes["job"].sites == {"east": 2}
