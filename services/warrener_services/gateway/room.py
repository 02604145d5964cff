"""How much the gateway holds at a time. Beyond that it refuses at once: a refusal costs little, and keeps nothing.

A submission of a megabyte is some twenty of them while it is read and checked, so the bodies in hand are counted by
their bytes, and before they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from warrener.errors import Overloaded

MAX_REQUESTS = 500
"""With those that wait for news of a run."""
MAX_SUBMISSIONS = 64
MAX_BYTES = 8 * 1024 * 1024
MAX_CONNECTIONS = 900
"""A last resort, below the usual limit of 1,024 open files: whoever comes then gets a bare 503."""

_RETRY_AFTER_S = 1.0


class Room:
    """The requests in the gateway's hands."""

    def __init__(
        self, *, requests: int = MAX_REQUESTS, submissions: int = MAX_SUBMISSIONS, size_bytes: int = MAX_BYTES
    ) -> None:
        self._most = {"requests": requests, "submissions": submissions, "bytes of bodies": size_bytes}
        self._held = dict.fromkeys(self._most, 0)

    @contextmanager
    def held_for(self, *, submission: bool, size_bytes: int) -> Iterator[None]:
        """Hold a request until its answer is sent; raises Overloaded when it is one too many."""
        wanted = {"requests": 1, "submissions": int(submission), "bytes of bodies": size_bytes}
        for what, most in self._most.items():
            if wanted[what] and self._held[what] + wanted[what] > most:
                raise Overloaded(
                    f"the gateway has its hands full: it takes at most {most:,} {what} at a time; nothing was done,"
                    f" try again in {_RETRY_AFTER_S:g} s, or submit many runs of a workflow in one request",
                    retry_after_s=_RETRY_AFTER_S,
                )
        self._add(wanted, 1)
        try:
            yield
        finally:
            self._add(wanted, -1)

    def _add(self, wanted: dict[str, int], sign: int) -> None:
        for what, number in wanted.items():
            self._held[what] += sign * number
