"""A transfer brings one file from its source to its destination, whole and checked, or not at all.

What an implementation promises:

* The destination appears by an atomic rename, after fsync, after its checksum held; a partial file is never seen.
* Paths stay below the roots they were given, links included; what would leave them raises TaskFailed(REFUSED).
* Whatever goes wrong raises TaskFailed(STAGE) with a sentence that names the source, the destination and the reason
  (missing, checksum with both digests, disk full with the bytes missing, HTTP status, time-out).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Transferred:
    """What arrived."""

    path: str
    size_bytes: int
    sha256: str


class Transfer(Protocol):
    """The transfer of one or more schemes, such as `file`, `http`, `https`."""

    schemes: tuple[str, ...]

    async def fetch(
        self, source: str, destination: Path, *, sha256: str | None, progress: Callable[[int], None]
    ) -> Transferred:
        """Bring a source to a local path below the run's folder. `progress` hears the bytes so far."""
        ...

    async def deliver(self, source: Path, destination: str, *, progress: Callable[[int], None]) -> Transferred:
        """Bring a local file to a destination; raises TaskFailed(REFUSED) where the scheme cannot be written."""
        ...
