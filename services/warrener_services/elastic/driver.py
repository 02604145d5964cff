"""A driver starts and stops the workers of one pool.

What an implementation promises:

* `look` says what there is, also of what an earlier life of this program started; it changes nothing but its memory.
* `scale` brings the number of working members to `count`. Whoever is to go is drained: it takes nothing more and ends
  when nothing runs on it; meanwhile it counts as leaving.
* Both raise DriverFailed, with a sentence for people; trying again later is the caller's part. Doing either twice does
  no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from warrener.errors import Unavailable
from warrener.messages import Heartbeat


class DriverFailed(Unavailable):
    """Workers could not be counted, started or stopped."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The members of a pool: how many work, and how many are on their way out.

    `member_of` tells which member a heartbeat comes from, by the member's name; None: from none of this pool.
    `whole_lane`: the driver cannot tell its own members from others, so that all workers of the lanes count as its own.
    """

    working: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    member_of: Callable[[Heartbeat], str | None] = field(default=lambda _: None, repr=False, compare=False)
    whole_lane: bool = False

    @property
    def count(self) -> int:
        return len(self.working)


class Driver(Protocol):
    """What starts and stops the workers of a pool. `exclusive_to` names what two programs must not drive at once."""

    @property
    def exclusive_to(self) -> str: ...

    async def look(self) -> Crew: ...

    async def scale(self, count: int, load: Mapping[str, int]) -> None:
        """Start or drain members; those with the least load, by name, go first where there is a choice."""
        ...
