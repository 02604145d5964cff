"""Gossip without agents: members are as they were given; whether they live, leases tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import msgpack

from warrener.errors import GossipUnavailable, Refused
from warrener.gossip import Change, Member

MAX_TAGS_BYTES = 512
"""As in Serf, so that what works here also works in a fleet."""


class StaticGossip:
    """A pool that changes only by `tell`; without members given, an empty one."""

    def __init__(
        self,
        members: Sequence[Member] = (),
        *,
        own_name: str | None = None,
        full_every: timedelta = timedelta(seconds=10),
    ) -> None:
        self._members = {member.name: member for member in members}
        self._own_name = own_name
        self._full_every_s = full_every.total_seconds()
        self._watchers: set[asyncio.Queue[Change | None]] = set()
        self._closed = False

    async def members(self) -> Sequence[Member]:
        self._check_open()
        return tuple(self._members.values())

    async def changes(self) -> AsyncIterator[Change]:
        inbox: asyncio.Queue[Change | None] = asyncio.Queue()
        self._watchers.add(inbox)
        try:
            while True:
                yield Change(await self.members(), full=True)
                async for change in _until_silent(inbox, self._full_every_s):
                    yield change
        finally:
            self._watchers.discard(inbox)

    async def own_name(self) -> str | None:
        self._check_open()
        return self._own_name

    async def told(self) -> Mapping[str, str]:
        self._check_open()
        return {} if self._own_name is None else self._members[self._own_name].tags

    async def tell(self, tags: Mapping[str, str | None]) -> None:
        self._check_open()
        if self._own_name is None:
            return
        own = self._members[self._own_name]
        merged = {**own.tags, **tags}
        told = {name: value for name, value in merged.items() if value is not None}
        _check_size(self._own_name, told)
        own = self._members[own.name] = replace(own, tags=told)
        self._post(Change((own,), full=False))

    async def close(self) -> None:
        self._closed = True
        self._post(None)

    def _post(self, change: Change | None) -> None:
        for inbox in self._watchers:
            inbox.put_nowait(change)

    def _check_open(self) -> None:
        if self._closed:
            raise GossipUnavailable("this gossip was closed")


async def _until_silent(inbox: asyncio.Queue[Change | None], seconds: float) -> AsyncIterator[Change]:
    """Yield changes until the time of the next full picture, or until the gossip was closed."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                change = await inbox.get()
        except TimeoutError:
            return
        if change is None:
            return
        yield change


def _check_size(name: str, tags: Mapping[str, str]) -> None:
    size = 1 + len(msgpack.packb(dict(tags), use_bin_type=False))  # Serf writes one byte before them
    if size > MAX_TAGS_BYTES:
        raise Refused(f"the tags of {name} take {size} bytes; gossip carries at most {MAX_TAGS_BYTES}: tell less")
