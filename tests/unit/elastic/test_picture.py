"""What a pool sees of what schedulers and workers say."""

from __future__ import annotations

from typing import Any

from warrener.messages import DEMAND_BELIEVED_S, Demand, Heartbeat, Held, Kind, LaneDemand
from warrener_services.elastic.decision import Seen
from warrener_services.elastic.driver import Crew
from warrener_services.elastic.picture import SILENT_S, Picture


def beat(worker: str, *, held: int = 0, **fields: Any) -> Heartbeat:
    whole = {"worker": worker, "boot": "b", "seq": 1, "task_kind": Kind.JOB, "site": "here", "host": "h", "slots": 4,
             "free": 4}  # fmt: skip
    attempts = [Held(run="d1zpmjh0g7qbnmez", n=n, attempt=1, token="0" * 32) for n in range(held)]
    return Heartbeat(**(whole | {"attempts": attempts} | fields))


def word(scheduler: str = "s1", **lanes: LaneDemand) -> Demand:
    return Demand(scheduler=scheduler, lanes=lanes)


def crew(*working: str, leaving: tuple[str, ...] = ()) -> Crew:
    names = {*working, *leaving}
    return Crew(
        frozenset(working), frozenset(leaving), lambda beat: beat.worker if beat.worker in names else None
    )  # fmt: skip


def test_the_demand_of_all_schedulers_and_lanes_adds_up() -> None:
    picture = Picture(0.0)
    job = LaneDemand(in_flight=2, ready=8, queued=8, oldest_s=3, mean_s=1)
    picture.hear_demand(word("s1", job=job, env=LaneDemand(in_flight=0, ready=10, queued=10, oldest_s=9, mean_s=4)), 1)
    picture.hear_demand(word("s2", job=job, stage=job), 1)
    seen = picture.seen(["job", "env"], "here", crew(), 2)
    assert seen == Seen(queued=26, in_flight=4, mean_s=(20 * 1 + 10 * 4) / 30, oldest_s=9)


def test_where_one_lane_is_unknown_so_is_the_mean() -> None:
    picture = Picture(0.0)
    known = LaneDemand(in_flight=0, ready=1, queued=1, mean_s=1)
    picture.hear_demand(word(job=known, env=LaneDemand(in_flight=0, ready=1, queued=1)), 1)
    assert picture.seen(["job", "env"], "here", crew(), 2).mean_s == 0


def test_what_is_bound_to_another_site_does_not_count() -> None:
    picture = Picture(0.0)
    picture.hear_demand(word(job=LaneDemand(in_flight=0, ready=9, queued=9, sites={"there": 5, "here": 3})), 1)
    assert picture.seen(["job"], "here", crew(), 2).queued == 4


def test_own_workers_and_others_are_told_apart() -> None:
    picture = Picture(0.0)
    picture.hear_demand(word(job=LaneDemand(in_flight=9, ready=0)), 1)
    picture.hear_beat(beat("own", held=3), 1)
    picture.hear_beat(beat("going", held=2, state="draining"), 1)
    picture.hear_beat(beat("other", held=4, slots=6), 1)
    picture.hear_beat(beat("far", site="there"), 1)
    picture.hear_beat(beat("drained", limit=0), 1)
    picture.hear_beat(beat("env-1", task_kind=Kind.ENV), 1)
    ours = crew("own", leaving=("going",))
    seen = picture.seen(["job"], "here", ours, 2)
    assert (seen.in_flight, seen.others, seen.busy) == (7, 6, 3)  # what runs on who leaves wants no new worker
    assert picture.load(ours) == {"own": 3, "going": 2}


def test_a_driver_that_cannot_tell_counts_everybody_as_its_own() -> None:
    picture = Picture(0.0)
    picture.hear_demand(word(job=LaneDemand(in_flight=3, ready=0)), 1)
    picture.hear_beat(beat("a", held=3), 1)
    seen = picture.seen(["job"], "here", Crew(whole_lane=True), 2)
    assert (seen.others, seen.busy) == (0, 3)


def test_who_is_silent_or_leaves_is_forgotten() -> None:
    picture = Picture(0.0)
    picture.hear_demand(word(), 100)
    picture.hear_beat(beat("a"), 100 - SILENT_S)
    picture.hear_beat(beat("b"), 100)
    picture.hear_beat(beat("b", state="leaving"), 100)
    assert picture.seen(["job"], "here", crew(), 100).others == 0


def test_the_silence_of_all_schedulers_is_told() -> None:
    picture = Picture(100.0)
    assert picture.seen(["job"], "here", crew(), 107).silent_s == 7
    picture.hear_demand(word(), 110)
    assert picture.seen(["job"], "here", crew(), 111).silent_s is None
    assert picture.seen(["job"], "here", crew(), 110 + DEMAND_BELIEVED_S).silent_s == DEMAND_BELIEVED_S
