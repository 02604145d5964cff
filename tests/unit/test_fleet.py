"""The workers that a scheduler knows, by what they say and what gossip says of their hosts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from warrener.messages import Heartbeat, Kind, Members, MemberSeen
from warrener_services.scheduler.fleet import FORGOTTEN, SILENT, Fleet

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)


def beat(name: str = "w", kind: Kind = Kind.JOB, **more: Any) -> Heartbeat:
    fields = {"boot": "b1", "seq": 1, "site": "local", "host": "h", "member": "m", "slots": 4, "free": 4}
    return Heartbeat(worker=name, task_kind=kind, **{**fields, **more})


def seen(status: Any, *, full: bool = False, name: str = "m") -> Members:
    return Members(members=[MemberSeen(name=name, status=status)], full=full)


def names(fleet: Fleet, lane: str = "job", now: datetime = NOW) -> list[str]:
    return [worker.name for worker in fleet.of_lane(lane, now)]


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet()
    fleet.hear(beat(), NOW)
    return fleet


def test_a_worker_serves_the_lanes_of_its_kind(fleet: Fleet) -> None:
    fleet.hear(beat("c", Kind.CALL, apps=["demo", "other"]), NOW)
    assert names(fleet) == ["w"]
    assert names(fleet, "call.demo") == names(fleet, "call.other") == ["c"]
    assert names(fleet, "env") == names(fleet, "call.none") == []


def test_a_silent_worker_gets_nothing(fleet: Fleet) -> None:
    assert names(fleet, now=NOW + SILENT - timedelta(seconds=1)) == ["w"]
    assert names(fleet, now=NOW + SILENT) == []


@pytest.mark.parametrize("more", [{"state": "draining"}, {"state": "leaving"}, {"slots": 0}])
def test_a_worker_that_takes_nothing_gets_nothing(fleet: Fleet, more: dict[str, Any]) -> None:
    fleet.hear(beat(**more), LATER)
    assert names(fleet) == []
    fleet.hear(beat(), LATER)
    assert names(fleet) == ["w"]


def test_a_worker_on_a_failed_host_gets_nothing_until_it_speaks(fleet: Fleet) -> None:
    fleet.gossip(seen("failed"), NOW)
    assert (names(fleet), fleet.lost()) == ([], {"w"})
    fleet.gossip(seen("failed"), LATER + timedelta(seconds=1))
    fleet.hear(beat(), LATER)
    assert (names(fleet, now=LATER), fleet.lost()) == (["w"], set())


@pytest.mark.parametrize("news", [seen("alive"), seen("left"), Members(members=[], full=True)])
def test_a_host_that_has_not_failed_is_not_lost(fleet: Fleet, news: Members) -> None:
    fleet.gossip(seen("failed"), NOW)
    fleet.gossip(news, NOW)
    assert fleet.lost() == set()


def test_a_change_says_nothing_of_other_hosts(fleet: Fleet) -> None:
    fleet.gossip(seen("failed"), NOW)
    fleet.gossip(seen("alive", name="another"), NOW)
    assert fleet.lost() == {"w"}


def test_a_worker_without_a_member_is_never_lost_by_gossip(fleet: Fleet) -> None:
    fleet.hear(beat(member=None), NOW)
    fleet.gossip(seen("failed"), NOW)
    assert fleet.lost() == set()


def test_a_worker_long_silent_is_not_remembered(fleet: Fleet) -> None:
    fleet.hear(beat("c"), NOW + FORGOTTEN)
    fleet.forget(NOW + FORGOTTEN)
    assert fleet.get("w") is None
    assert fleet.get("c") is not None
