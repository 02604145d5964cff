"""Secrets of a job: fetched at launch, and taken out of whatever the job says."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from warrener.errors import Cause, TaskFailed
from warrener.messages import Json
from warrener_services.job_submission.regular import open_regular

REFERENCE: Final = "secret://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HIDDEN = "***"
_MAX_BYTES = 64 * 1024


def fetch(reference: str, folder: Path) -> str:
    """Return the value of `secret://name`: the content of that file, without a newline at its end.

    Raises TaskFailed(REFUSED), naming the secret and never its value.
    """
    name = reference.removeprefix(REFERENCE)
    if not _NAME.fullmatch(name):
        raise _refused(name, "a name has 1 to 64 letters, digits, '.', '_', '-', and begins with a letter or digit")
    try:
        found = open_regular(folder / name)
    except OSError as error:
        raise _refused(name, f"this worker cannot read it in its folder of secrets ({error.strerror})") from error
    with found as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise _refused(name, "only its owner may be able to read it: chmod 600")
        value = file.read(_MAX_BYTES + 1).removesuffix(b"\n")
    if not value or len(value) > _MAX_BYTES or b"\0" in value:
        raise _refused(name, f"it must have 1 to {_MAX_BYTES} bytes and no NUL")
    return os.fsdecode(value)


def _refused(name: str, why: str) -> TaskFailed:
    return TaskFailed(Cause.REFUSED, f"the secret {name[:80]!r}: {why}")


class Redaction:
    """Replaces secrets' values by ***."""

    def __init__(self, values: Iterable[str]) -> None:
        # The longest first: one value may begin another.
        self._values = sorted({value for value in values if value}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._values))) if self._values else None

    def text(self, text: str) -> str:
        return self._pattern.sub(_HIDDEN, text) if self._pattern else text

    def json(self, value: Json) -> Json:
        if not self._pattern:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.json(item) for key, item in value.items()}
        return self.text(str(value)) if str(value) in self._values else value

    def held_back(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of a value."""
        longest = min(len(text), max(map(len, self._values), default=1) - 1)
        for length in range(longest, 0, -1):
            if any(value.startswith(text[-length:]) for value in self._values if len(value) > length):
                return length
        return 0


class RedactedText:
    """Turns the bytes of a stream, as they come, into text without secrets, also where a piece ends within one."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        # NUL becomes the sign of what is no text: databases do not take it.
        text = self._rest + self._decoder.decode(data, final).replace("\0", "\ufffd")
        text = self._redaction.text(text)
        keep = 0 if final else self._redaction.held_back(text)
        self._rest = text[len(text) - keep :]
        return text[: len(text) - keep]
