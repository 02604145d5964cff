"""From news of members to alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from warrener.alerts import AlertKind
from warrener.gossip import Change, Member, Status
from warrener.membership import News, Notice, Picture, after
from warrener.messages import Kind
from warrener.tags import ASKS, WorkerTag, write
from warrener_services.gossip.members import MemberAlerts
from warrener_services.gossip.trouble import Troubles, parts_seen_from

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A = Member("a", Status.ALIVE, "10.0.0.1:7946", {"site": "lab"})
A_FAILED = Member("a", Status.FAILED, "10.0.0.1:7946", {"site": "lab"})


def said(alerts: MemberAlerts, news: News, s: float = 0, member: Member = A) -> list[tuple[str, bool]]:
    return [(one.kind, one.over) for one in alerts.take([Notice(news, member)], NOW + timedelta(seconds=s))]


def test_a_failure_is_alerted_and_its_end() -> None:
    alerts = MemberAlerts()
    (alert,) = alerts.take([Notice(News.FAILED, A_FAILED)], NOW)

    assert (alert.kind, alert.subject, alert.site) == (AlertKind.MEMBER_FAILED, "a", "lab")
    assert alert.text.startswith("a (10.0.0.1:7946) does not answer")
    assert (AlertKind.MEMBER_FAILED, True) in said(alerts, News.BACK, 1)


def test_the_site_is_told_by_the_workers_beside_a_foreign_agent() -> None:
    told = {"w:job-a": write(WorkerTag(Kind.JOB, "up", "b1", 3, 4, site="lab"))}
    (alert,) = MemberAlerts().take([Notice(News.FAILED, Member("a", Status.FAILED, tags=told))], NOW)
    assert alert.site == "lab"


def test_leaving_is_alerted_unless_it_only_takes_out_who_had_failed() -> None:
    alerts = MemberAlerts()
    assert (AlertKind.MEMBER_LEFT, False) in said(alerts, News.LEFT)
    assert (AlertKind.MEMBER_LEFT, True) in said(alerts, News.JOINED)
    said(alerts, News.FAILED)
    assert said(alerts, News.LEFT) == [(AlertKind.MEMBER_FAILED, True)]


def test_who_is_here_at_the_start_ends_what_an_earlier_life_alerted() -> None:
    _, notices = after(Picture(), Change([A, Member("b", Status.FAILED)], full=True))
    alerts = MemberAlerts().take(notices, NOW)

    assert [(one.kind, one.subject, one.over) for one in alerts] == [
        (AlertKind.MEMBER_FAILED, "a", True),
        (AlertKind.MEMBER_LEFT, "a", True),
        (AlertKind.MEMBER_FAILED, "b", False),
    ]


def test_who_comes_and_goes_is_told_of_once_until_it_is_stable() -> None:
    alerts = MemberAlerts()
    kinds = []
    for n in range(6):
        kinds += said(alerts, News.FAILED, 60 * n)
        said(alerts, News.BACK, 60 * n + 30)

    assert kinds == [(AlertKind.MEMBER_FAILED, False)] * 2 + [(AlertKind.MEMBER_FLAPPING, False)]
    assert alerts.settled(NOW + timedelta(minutes=9)) == []
    (over,) = alerts.settled(NOW + timedelta(minutes=10))
    assert (over.kind, over.over) == (AlertKind.MEMBER_FLAPPING, True)
    assert said(alerts, News.FAILED, 3600) == [(AlertKind.MEMBER_FAILED, False)]


def test_who_is_gone_after_all_is_told_of() -> None:
    alerts = MemberAlerts()
    for n in range(3):
        said(alerts, News.FAILED, n)
        if n < 2:
            said(alerts, News.BACK, n)

    over, failed = alerts.settled(NOW + timedelta(minutes=6))
    assert (over.kind, over.over) == (AlertKind.MEMBER_FLAPPING, True)
    assert (failed.kind, failed.over) == (AlertKind.MEMBER_FAILED, False)


def test_who_came_and_went_and_was_taken_out_is_not_told_as_failed_for_ever() -> None:
    alerts = MemberAlerts()
    for n in range(3):
        said(alerts, News.FAILED, n)
        said(alerts, News.LEFT if n == 2 else News.BACK, n)

    (over,) = alerts.settled(NOW + timedelta(minutes=6))
    assert (over.kind, over.over) == (AlertKind.MEMBER_FLAPPING, True)
    assert over.text.endswith("is out of the pool.")


def test_what_an_earlier_life_alerted_ends_also_when_the_member_has_left_meanwhile() -> None:
    assert (AlertKind.MEMBER_FAILED, True) in said(MemberAlerts(), News.LEFT)


def test_a_failure_ends_when_the_member_is_back_whatever_was_heard_between() -> None:
    alerts = MemberAlerts()
    for news in (News.LEFT, News.FAILED, News.LEFT):
        said(alerts, news)
    assert said(alerts, News.BACK) == [(AlertKind.MEMBER_FAILED, True), (AlertKind.MEMBER_LEFT, True)]


@pytest.mark.parametrize("news", list(News))
def test_who_only_asks_is_no_host(news: News) -> None:
    alerts = MemberAlerts()
    assert said(alerts, news, member=Member("find-hare-1", Status.ALIVE, tags={ASKS: "1"})) == []
    assert not alerts._gone


@pytest.mark.parametrize("before", [News.JOINED, News.FAILED, News.LEFT])
def test_an_agent_that_was_started_anew_and_knows_nobody_ends_and_begins_nothing(before: News) -> None:
    alerts = MemberAlerts()
    said(alerts, before)
    assert said(alerts, News.FORGOTTEN) == []
    assert (AlertKind.MEMBER_FAILED, True) in said(alerts, News.JOINED)


def test_who_failed_for_good_is_told_of_though_an_agent_was_started_anew_meanwhile() -> None:
    alerts = MemberAlerts()
    for n in range(3):
        said(alerts, News.FAILED, n)
    said(alerts, News.FORGOTTEN, 4)
    assert [alert.kind for alert in alerts.settled(NOW + timedelta(minutes=6))][1:] == [AlertKind.MEMBER_FAILED]


def test_names_that_never_come_again_are_not_kept() -> None:
    alerts = MemberAlerts()
    for n in range(3):
        said(alerts, News.LEFT, member=Member(f"container-{n}", Status.LEFT))
        said(alerts, News.FORGOTTEN, member=Member(f"container-{n}", Status.LEFT))
    assert not alerts._gone


# ── parts that are away ──────────────────────────────────────────────────────────────────────────────────────


def at(s: float) -> datetime:
    return NOW + timedelta(seconds=s)


def test_a_part_that_is_away_for_a_moment_is_no_alert() -> None:
    troubles = Troubles(parts_seen_from("here"))
    troubles.back("broker", at(0))
    troubles.away("broker", "no connection", at(1))
    assert troubles.lasting(at(5)) == []
    assert troubles.back("broker", at(6)) == []
    assert troubles.lasting(at(60)) == []


def test_a_part_that_stays_away_is_alerted_again_and_again_and_its_return() -> None:
    troubles = Troubles(parts_seen_from("here"))
    troubles.away("store", "no connection", at(0))
    ((alert, since),) = troubles.lasting(at(11))
    assert (alert.kind, alert.subject, since) == (AlertKind.STORE_TROUBLE, "database", at(0))
    assert "no connection" in alert.text
    assert troubles.lasting(at(30)) == []
    assert len(troubles.lasting(at(75))) == 1
    ((over, when),) = troubles.back("store", at(80))
    assert (over.over, when) == (True, at(80))
    assert troubles.alert_of("store") is None


def test_the_first_sight_of_a_part_ends_what_an_earlier_life_alerted() -> None:
    troubles = Troubles(parts_seen_from("here"))
    assert [alert.over for alert, _ in troubles.back("gossip", at(0))] == [True]
    assert troubles.back("gossip", at(1)) == []
