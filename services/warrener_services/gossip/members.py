"""From news of members to alerts: who failed, left, or comes and goes all the time. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from warrener.alerts import Alert, AlertKind
from warrener.gossip import Member
from warrener.membership import News, Notice
from warrener.tags import ASKS, site_of

FLAPS = 3
FLAPPING_WITHIN = timedelta(minutes=10)
"""A member that fails so often within this time is told of once, as flapping; more often: more mails before."""

STABLE_AFTER = timedelta(minutes=5)


class MemberAlerts:
    """What became of each member, as far as it matters for alerts.

    It does not know what an earlier life of the program alerted, so it tells ends without asking whether anything
    began: the end of nothing changes nothing.
    """

    def __init__(self) -> None:
        self._gone: dict[str, News] = {}
        self._failures: dict[str, deque[datetime]] = defaultdict(lambda: deque(maxlen=FLAPS))
        self._flapping: dict[str, Member] = {}

    def take(self, notices: Iterable[Notice], now: datetime) -> list[Alert]:
        """Return what is to be alerted."""
        hosts = (notice for notice in notices if ASKS not in notice.member.tags)
        return [alert for notice in hosts for alert in self._one(notice.news, notice.member, now)]

    def _one(self, news: News, member: Member, now: datetime) -> Iterator[Alert]:
        match news:
            case News.FAILED:
                self._gone[member.name] = news
                yield from self._failed(member, now)
            case News.LEFT:
                yield _failed_over(member, "was taken out of the pool")
                if self._gone.get(member.name) is not News.FAILED:
                    yield _left(member)
                self._gone[member.name] = news
            case News.JOINED | News.BACK:
                self._gone.pop(member.name, None)
                yield _failed_over(member, "is back")
                yield _left_over(member)
            case News.FORGOTTEN:  # perhaps by an agent that was started anew: no news of the member
                if member.name not in self._flapping:
                    self._gone.pop(member.name, None)
            case News.TAGS:
                pass

    def _failed(self, member: Member, now: datetime) -> Iterator[Alert]:
        failures = self._failures[member.name]
        failures.append(now)
        if member.name in self._flapping:
            return
        if len(failures) == FLAPS and now - failures[0] <= FLAPPING_WITHIN:
            self._flapping[member.name] = member
            yield _flapping(member)
        else:
            yield _failed(member)

    def settled(self, now: datetime) -> list[Alert]:
        """Return what time alone has brought about: who has stopped flapping, one way or the other."""
        alerts: list[Alert] = []
        for name, member in list(self._flapping.items()):
            if now - self._failures[name][-1] >= STABLE_AFTER:
                del self._flapping[name]
                gone = self._gone.get(name)
                alerts.append(_flapping_over(member, gone))
                if gone is News.FAILED:
                    alerts.append(_failed(member))
        for name in [name for name, seen in self._failures.items() if now - seen[-1] > FLAPPING_WITHIN]:
            if name not in self._flapping:
                del self._failures[name]
        return alerts


def _of(kind: AlertKind, member: Member, text: str, *, cause: str = "", over: bool = False) -> Alert:
    where = f" ({member.address})" if member.address else ""
    return Alert(
        kind, member.name, f"{member.name}{where} {text}.", site=site_of(member.tags), cause=cause,
        look="warrener workers", over=over,
    )  # fmt: skip


def _failed(member: Member) -> Alert:
    return _of(
        AlertKind.MEMBER_FAILED, member,
        "does not answer the other members any more; what it runs is placed anew when its leases run out",
        cause="The host or its network is down, it is overloaded or frozen, or its Serf agent was killed.",
    )  # fmt: skip


def _failed_over(member: Member, what: str) -> Alert:
    return _of(AlertKind.MEMBER_FAILED, member, what, over=True)


def _left(member: Member) -> Alert:
    return _of(AlertKind.MEMBER_LEFT, member, "left the pool as planned", cause="Its Serf agent was told to leave.")


def _left_over(member: Member) -> Alert:
    return _of(AlertKind.MEMBER_LEFT, member, "joined again", over=True)


def _flapping(member: Member) -> Alert:
    return _of(
        AlertKind.MEMBER_FLAPPING, member,
        f"failed {FLAPS} times within {FLAPPING_WITHIN.total_seconds() / 60:g} minutes and came back; single failures"
        " are not told until it is stable",
        cause="A network that loses packets, a host that is overloaded or swaps, or two hosts of one name.",
    )  # fmt: skip


def _flapping_over(member: Member, gone: News | None) -> Alert:
    now = {News.FAILED: "is gone for good, it seems", News.LEFT: "is out of the pool", None: "is stable again"}[gone]
    return _of(AlertKind.MEMBER_FLAPPING, member, now, over=True)
