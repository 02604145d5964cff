"""What happened, line by line: shown when asked for, hashed always, so that two runs of a seed can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any


class Trace:
    """The history of one simulation."""

    def __init__(self, time: Callable[[], float], *, show: bool = False) -> None:
        self._time = time
        self._show = show
        self._hash = hashlib.blake2b(digest_size=16)
        self.lines = 0

    def add(self, who: object, what: str, *facts: Any) -> None:
        line = f"{self._time():10.3f}  {who!s:14} {what:10} {' '.join(map(str, facts))}"
        self._hash.update(line.encode())
        self.lines += 1
        if self._show:
            print(line)  # noqa: T201 - the trace of a replay is what was asked for

    def digest(self) -> str:
        return self._hash.hexdigest()
