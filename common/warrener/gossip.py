"""Gossip says who is thought alive; it is a hint, never the truth.

What an implementation promises:

* `members` returns the last known picture at once; `changes` yields every batch of changes after that, and the full
  picture at least every ten seconds and after every reconnection, so that a lost event is harmless.
* An agent that cannot be reached raises GossipUnavailable from `changes`; the caller waits and begins again.
* `tell` sets tags of the member beside this program; a tag of None is removed. All tags together have at most
  512 bytes (https://github.com/hashicorp/serf, enforced by the agent).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Status(StrEnum):
    """What gossip thinks of a member."""

    ALIVE = "alive"
    LEAVING = "leaving"
    LEFT = "left"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the pool."""

    name: str
    status: Status
    address: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What became known at one moment. `full`: these are all members."""

    members: Sequence[Member]
    full: bool


class Gossip(Protocol):
    """One view of the pool, through one agent."""

    async def members(self) -> Sequence[Member]:
        """Return all members as the agent knows them now; raises GossipUnavailable."""
        ...

    def changes(self) -> AsyncIterator[Change]:
        """Yield the full picture first, then changes as they come; raises GossipUnavailable when the agent goes."""
        ...

    async def own_name(self) -> str | None:
        """Return the name of the member beside this program; None where there is no agent."""
        ...

    async def told(self) -> Mapping[str, str]:
        """Return the tags of the member beside this program; none where there is no agent."""
        ...

    async def tell(self, tags: Mapping[str, str | None]) -> None:
        """Set (or, with None, remove) tags of the member beside this program."""
        ...

    async def close(self) -> None:
        """Drop the connections; the agent goes on."""
        ...
