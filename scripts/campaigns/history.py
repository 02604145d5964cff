"""The history of a campaign: a file of JSON lines to which everybody appends, the jobs among them.

Every line has `at`, seconds since boot (a clock that all hosts of one machine share), and `what`:

    submitted  key, expected (the ends that are right)        accepted   key, run
    start      kind (job, call), run, task, attempt, host     end        the same; a call does not know its attempt: 0
    fault      name, target, trial                            over       the same, and what came of it
    figure     name, value, limit, trial, target              wrong      text: found by the campaign itself
    mail       text: handed over to the mail server of the first desk
    stored     run, key, state, tasks: what the store has at the end, see `_STORED` in `auditing`
    campaign   name, seed, options: the first line            ended      faults, seconds: the last one

Short lines appended in one write are never mixed with others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]

SHELL_START = (
    "read HOST </proc/sys/kernel/hostname; "
    "note() { read UP _ </proc/uptime; "
    'echo "{\\"at\\":$UP,\\"what\\":\\"$1\\",\\"kind\\":\\"job\\",\\"run\\":\\"$WARRENER_RUN\\",'
    '\\"task\\":\\"$WARRENER_TASK\\",\\"attempt\\":$WARRENER_ATTEMPT,\\"host\\":\\"$HOST\\"}" >>"$HISTORY"; }; '
    "note start; "
)
"""What a job's script begins with. `note end` is what it ends with; neither costs a further process."""


def now_s() -> float:
    """Return the time on the history's clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def note(path: Path, what: str, **fields: object) -> None:
    """Append one line."""
    line = json.dumps({"at": round(now_s(), 3), "what": what, **fields}, separators=(",", ":"))
    with path.open("a") as file:
        file.write(line + "\n")


def read(path: Path) -> Iterator[Line]:
    """Yield the lines of a history; one that was cut short by a kill is left out."""
    with path.open(errors="replace") as file:
        for text in file:
            try:
                yield json.loads(text)
            except ValueError:
                continue


class History:
    """Writes a history, and follows what jobs write into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts: list[Line] = []
        self.mails: list[Line] = []
        self._offset = 0

    def note(self, what: str, **fields: object) -> None:
        note(self.path, what, **fields)

    def look(self) -> list[Line]:
        """Take in the starts, and the mails, that were written since the last look; return the starts."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(text) + len(newline)
        found = [json.loads(line) for line in text.split(b"\n") if b'"what":"start"' in line]
        self.starts += found
        self.mails += [json.loads(line) for line in text.split(b"\n") if b'"what":"mail"' in line]
        return found

    def since(self, moment_s: float) -> Iterator[Line]:
        """Yield what started after a moment, the latest first."""
        for line in reversed(self.starts):
            if line["at"] < moment_s - 1:  # lines of different hosts are nearly in order
                return
            if line["at"] >= moment_s:
                yield line
