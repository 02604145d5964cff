"""What a job prints, followed in its files while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from warrener.performer import Assignment
from warrener_services.job_submission.redaction import RedactedText, Redaction

LOOK_BYTES: Final = 256 * 1024
LAST_CHARACTERS: Final = 2048


class Printed:
    """Hands on what is new in `stdout` and `stderr` to the assignment's log, and keeps the end of stderr."""

    def __init__(self, folder: Path, assignment: Assignment, redaction: Redaction) -> None:
        self._assignment = assignment
        self._streams = (
            _Followed("stdout", folder, redaction),
            _Followed("stderr", folder, redaction),
        )

    @property
    def last_lines(self) -> str:
        """The last lines of stderr, without secrets."""
        return self._streams[1].last.strip()

    def look(self) -> bool:
        """Take what is new, within bounds; tell whether there was something."""
        return any([self._take(stream, final=False) for stream in self._streams])  # noqa: C419 - look at both

    def finish(self) -> None:
        """Hand on what was held back until the next piece."""
        for stream in self._streams:
            self._take(stream, final=True)

    def _take(self, stream: _Followed, *, final: bool) -> bool:
        text, more = stream.take(final=final)
        if text:
            self._assignment.log(stream.name, text)
        return more


class _Followed:
    def __init__(self, name: Literal["stdout", "stderr"], folder: Path, redaction: Redaction) -> None:
        self.name = name
        self.last = ""
        self._path = folder / name
        self._offset = 0
        self._text = RedactedText(redaction)

    def take(self, *, final: bool) -> tuple[str, bool]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(LOOK_BYTES)
        except FileNotFoundError:
            data = b""  # it could not be started, or not yet
        self._offset += len(data)
        text = self._text.feed(data, final=final)
        self.last = (self.last + text)[-LAST_CHARACTERS:]
        return text, bool(data)
