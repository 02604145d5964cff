"""Who is told what a gossip program meets: the alert desk, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from warrener.membership import Notice


class Ear(Protocol):
    """Hears at once and never waits."""

    def news(self, notices: Sequence[Notice]) -> None:
        """Hear what became of members."""
        ...

    def away(self, part: str, reason: str) -> None:
        """Hear that `gossip`, `broker` or `store` could not be reached; repeated while it lasts."""
        ...

    def back(self, part: str) -> None:
        """Hear that a part was reached."""
        ...


class NoEar:
    """Nobody hears."""

    def news(self, notices: Sequence[Notice]) -> None: ...
    def away(self, part: str, reason: str) -> None: ...
    def back(self, part: str) -> None: ...
