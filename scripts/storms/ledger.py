"""The ledger: a file to which all work appends a line when it starts, whoever runs it and however often.

    <job|call>/<run>/<task>/<attempt> <seconds since boot>

A call does not know its attempt and writes 0. `/proc/uptime` is a clock that every process of a host shares, a shell
among them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHELL = 'read UP _ </proc/uptime; echo "job/$WARRENER_RUN/$WARRENER_TASK/$WARRENER_ATTEMPT $UP" >>"$LEDGER"; '
"""What a job's script begins with; it costs no further process."""


def now_s() -> float:
    """Return the time on the ledger's clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def note(ledger: Path, what: str) -> None:
    with ledger.open("a") as file:
        file.write(f"{what}/0 {now_s():.2f}\n")


@dataclass(frozen=True, slots=True)
class Start:
    """A line: work that started."""

    kind: str
    run: str
    task: str
    attempt: int
    at_s: float


class Ledger:
    """Reads what is new in the file, whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts: list[Start] = []
        self._offset = 0

    def look(self) -> None:
        """Take in what was written since the last look."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(text) + len(newline)
        self.starts += [_start(line) for line in text.decode().splitlines()]

    def of_attempts(self) -> Counter[str]:
        """Return how often each attempt of a job was started."""
        return Counter(f"{one.run}/{one.task}/{one.attempt}" for one in self.starts if one.kind == "job")

    def of_calls(self, run: str, task: str) -> int:
        return sum(1 for one in self.starts if (one.kind, one.run, one.task) == ("call", run, task))

    def since(self, moment_s: float) -> Iterator[Start]:
        """Yield what started after a moment."""
        return (one for one in self.starts if one.at_s >= moment_s)


def _start(line: str) -> Start:
    what, _, at_s = line.partition(" ")
    kind, run, task, attempt = what.split("/")
    return Start(kind, run, task, int(attempt), float(at_s))
