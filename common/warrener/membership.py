"""Who is thought alive: a picture of the members, built from what gossip says; pure.

A partial change replaces what it names; a full one replaces everything. So the order, the loss and the
repetition of partial changes do not matter: the next full one makes the picture right.

    unknown ──joined──▶ here ──failed──▶ gone ──back──▶ here        here: alive or leaving
                        here ──left────▶ gone                       gone: failed, left, or forgotten

That a member is missing from a full picture says nothing of the member: Serf has forgotten it after days, or the agent
was started anew and never knew of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from warrener.gossip import Change, Member, Status


class News(StrEnum):
    """What became of a member."""

    JOINED = "joined"
    FAILED = "failed"
    LEFT = "left"
    BACK = "back"
    FORGOTTEN = "forgotten"  # it is missing from a full picture
    TAGS = "tags"  # its tags or address changed, or it began to leave; it is where it was


@dataclass(frozen=True, slots=True)
class Notice:
    """One piece of news, with the member as it is now. One that the pool forgot is shown as `left`."""

    news: News
    member: Member


@dataclass(frozen=True, slots=True)
class Picture:
    """The members as last heard, by name."""

    members: Mapping[str, Member] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def here(self) -> frozenset[str]:
        """The names of those that are alive or just leaving."""
        return frozenset(name for name, member in self.members.items() if is_here(member))


def is_here(member: Member) -> bool:
    """Tell whether a member is thought to run; one that is leaving still does."""
    return member.status in (Status.ALIVE, Status.LEAVING)


def after(picture: Picture, change: Change) -> tuple[Picture, tuple[Notice, ...]]:
    """Return the picture after a change, and the news: at most one notice for each member."""
    heard = {member.name: member for member in change.members}
    old = picture.members
    notices = [
        Notice(news, member) for name, member in heard.items() if (news := _news(old.get(name), member)) is not None
    ]
    if change.full:
        notices += [_forgotten(old[name]) for name in old if name not in heard]
        return Picture(MappingProxyType(heard)), tuple(notices)
    return Picture(MappingProxyType({**old, **heard})), tuple(notices)


_GONE = {Status.FAILED: News.FAILED, Status.LEFT: News.LEFT}


def _news(before: Member | None, now: Member) -> News | None:
    if is_here(now):
        if before is None:
            return News.JOINED
        if not is_here(before):
            return News.BACK
    elif before is None or _GONE.get(before.status) != _GONE[now.status]:
        return _GONE[now.status]
    return News.TAGS if before != now else None


def _forgotten(member: Member) -> Notice:
    return Notice(News.FORGOTTEN, Member(member.name, Status.LEFT, member.address, member.tags))
