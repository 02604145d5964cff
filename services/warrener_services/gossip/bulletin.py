"""What is to be published next. News add up while the broker is slow: the latest of each member is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from warrener.gossip import Change, Member
from warrener.membership import Notice, Picture, after


@dataclass(frozen=True, slots=True)
class Edition:
    """Members to publish together. `full`: these are all."""

    members: Sequence[Member]
    full: bool


class Bulletin:
    """The picture, and what of it others have not heard yet; one task writes, one reads."""

    def __init__(self) -> None:
        self.picture = Picture()
        self._changed: dict[str, Member] = {}
        self._full = False
        self._in_sight = False
        self._due = asyncio.Event()

    @property
    def in_sight(self) -> bool:
        """Tell whether the picture is one of now."""
        return self._in_sight

    def hear(self, change: Change) -> tuple[Notice, ...]:
        """Take a change in; return the news."""
        self.picture, notices = after(self.picture, change)
        self._changed.update({notice.member.name: notice.member for notice in notices})
        if change.full:
            self._in_sight = True
            self._full = True
        if self._full or self._changed:
            self._due.set()
        return notices

    def lose_sight(self) -> None:
        """Publish nothing until gossip is back: an old picture must not pass for a new one."""
        self._in_sight = False
        self._changed.clear()
        self._full = False
        self._due.clear()

    def ask_full(self) -> None:
        """Make the full picture due, if there is one."""
        if self._in_sight:
            self._full = True
            self._due.set()

    async def next(self) -> Edition:
        """Wait until something is due, and take it."""
        await self._due.wait()
        self._due.clear()
        full, self._full = self._full, False
        changed, self._changed = self._changed, {}
        return Edition(tuple((self.picture.members if full else changed).values()), full)
