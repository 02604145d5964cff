"""The roll: the last heartbeat of every worker, and what silence means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from warrener import tags
from warrener.messages import Attributes, Heartbeat, Kind, Members, MemberSeen
from warrener_services.gateway.roll import ASK_AGAIN_AFTER, FORGOTTEN_AFTER, SILENT_AFTER, Roll

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def beat(**fields: Any) -> Heartbeat:
    whole = {
        "worker": "job-a", "boot": "b1", "seq": 5, "task_kind": Kind.JOB, "site": "local", "host": "a", "slots": 4,
        "free": 3,
    }  # fmt: skip
    return Heartbeat(**(whole | fields))


def test_a_worker_is_silent_when_it_was_not_heard_for_long() -> None:
    roll = Roll()
    roll.hear(beat(), NOW)
    (fresh,) = roll.call(NOW + SILENT_AFTER)
    (silent,) = roll.call(NOW + SILENT_AFTER + timedelta(seconds=1))
    assert (fresh.state, fresh.free) == ("up", 3)
    assert (silent.state, silent.free) == ("silent", 0)


def test_a_worker_that_says_goodbye_is_gone_and_later_forgotten() -> None:
    roll = Roll()
    roll.hear(beat(state="leaving"), NOW)
    assert roll.call(NOW)[0].state == "gone"
    assert roll.call(NOW + FORGOTTEN_AFTER + timedelta(seconds=1)) == []


def test_workers_that_come_and_go_are_forgotten_though_nobody_asks() -> None:
    roll = Roll()
    for n in range(5):
        roll.hear(beat(worker="stays", seq=n), NOW + n * FORGOTTEN_AFTER / 2)
        roll.hear(beat(worker=f"container-{n}", attributes=Attributes()), NOW + n * FORGOTTEN_AFTER / 2)
    assert list(roll._heard) == ["container-2", "container-3", "stays", "container-4"]
    assert list(roll._attributes) == ["container-2", "container-3", "container-4"]


def test_an_older_heartbeat_of_the_same_boot_changes_nothing() -> None:
    roll = Roll()
    roll.hear(beat(), NOW)
    roll.hear(beat(seq=4, free=0), NOW)
    assert roll.call(NOW)[0].free == 3
    roll.hear(beat(boot="b2", seq=1, free=1), NOW)
    assert roll.call(NOW)[0].free == 1


def test_workers_are_listed_by_kind_and_name() -> None:
    roll = Roll()
    for name, kind in (("z", Kind.ENV), ("b", Kind.JOB), ("a", Kind.JOB)):
        roll.hear(beat(worker=name, task_kind=kind), NOW)
    assert [worker.name for worker in roll.call(NOW)] == ["z", "a", "b"]


# ── gossip and attributes ────────────────────────────────────────────────────────────────────────────────────────


HAS = Attributes(cores=8, software=["git"])


def seen(status: Any = "alive", **told: str) -> MemberSeen:
    return MemberSeen(name="hare-1", status=status, address="10.0.0.1:7946", tags=told)


def tag_of(boot: str = "b1", digest: str = HAS.digest) -> str:
    return tags.write(tags.WorkerTag(Kind.JOB, "up", boot, 2, 4, site="local", load=0.7, digest=digest))


def test_what_gossip_thinks_of_the_host_is_shown_beside_the_worker_with_its_moment() -> None:
    roll = Roll()
    roll.hear(beat(member="hare-1"), NOW)
    roll.hear_gossip(Members(members=[seen(**{"w:job-a": tag_of()})], full=True), NOW)
    (alive,) = roll.call(NOW)
    assert (alive.gossip, alive.gossip_since) == ("alive", NOW)
    assert alive.tag is not None
    assert (alive.tag.free, alive.tag.load) == (2, 0.7)
    later = NOW + timedelta(seconds=7)
    roll.hear_gossip(Members(members=[seen("failed")]), later)
    roll.hear_gossip(Members(members=[seen("failed")], full=True), later + timedelta(seconds=9))
    (failed,) = roll.call(later)
    assert (failed.gossip, failed.gossip_since, failed.state) == ("failed", later, "up")


def test_a_tag_of_an_earlier_life_says_nothing_of_this_one() -> None:
    roll = Roll()
    roll.hear(beat(member="hare-1", boot="b2"), NOW)
    roll.hear_gossip(Members(members=[seen(**{"w:job-a": tag_of(boot="b1")})]), NOW)
    assert roll.call(NOW)[0].tag is None


def test_members_that_failed_or_left_are_shown_for_a_while_with_their_workers() -> None:
    roll = Roll()
    roll.hear_gossip(Members(members=[seen(**{"w:job-a": tag_of()})], full=True), NOW)
    roll.hear_gossip(Members(members=[seen("failed")]), NOW)
    (member,) = roll.members(NOW + timedelta(hours=23))
    assert (member.status, member.workers) == ("failed", ["job-a"])
    assert roll.members(NOW + timedelta(hours=25)) == []
    roll.hear_gossip(Members(members=[], full=True), NOW)
    assert roll.members(NOW) == []


def test_a_member_that_only_asks_is_shown_as_that() -> None:
    roll = Roll()
    seen = [MemberSeen(name="a", status="alive"), MemberSeen(name="find-b", status="alive", tags={"asks": "1"})]
    roll.hear_gossip(Members(members=seen, full=True), NOW)
    assert [(member.name, member.asks) for member in roll.members(NOW)] == [("a", False), ("find-b", True)]


def test_attributes_are_asked_for_when_they_are_unknown_or_others() -> None:
    roll = Roll()
    roll.hear(beat(digest=HAS.digest), NOW)
    assert roll.to_describe(NOW) == ["job-a"]
    assert roll.to_describe(NOW + ASK_AGAIN_AFTER / 2) == [], "not before the answer had its time"
    assert roll.to_describe(NOW + ASK_AGAIN_AFTER) == ["job-a"]
    roll.hear(beat(digest=HAS.digest, attributes=HAS, seq=6), NOW)
    assert roll.to_describe(NOW + 2 * ASK_AGAIN_AFTER) == []
    assert roll.call(NOW)[0].attributes == HAS
    roll.hear(beat(digest="other", boot="b2"), NOW)
    assert roll.to_describe(NOW + 3 * ASK_AGAIN_AFTER) == ["job-a"]


def test_a_digest_that_gossip_tells_of_first_is_asked_for_too() -> None:
    roll = Roll()
    roll.hear(beat(digest=HAS.digest, attributes=HAS, member="hare-1"), NOW)
    roll.hear_gossip(Members(members=[seen(**{"w:job-a": tag_of(digest="newer")})]), NOW)
    assert roll.to_describe(NOW) == ["job-a"]


def test_workers_of_older_versions_and_those_that_leave_are_not_asked() -> None:
    roll = Roll()
    roll.hear(beat(), NOW)
    roll.hear(beat(worker="job-b", state="leaving", digest="d"), NOW)
    assert roll.to_describe(NOW) == []
