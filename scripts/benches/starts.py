"""When calls started, as the worker wrote it down: a line for each start in one file, read from where it was left."""

from __future__ import annotations

from pathlib import Path


class Starts:
    """The delays between being asked for and starting, of calls of `bench.held`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._read_bytes = 0

    def new_s(self) -> list[float]:
        """Return the delays, in seconds, of the starts since the last time."""
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        pairs = (line.split() for line in whole.splitlines())
        return [(int(started_ns) - int(asked_ns)) / 1e9 for asked_ns, started_ns in pairs]
