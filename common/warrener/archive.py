"""Archives of finished runs: compressed lines of JSON, a file for each day and scheduler.

A line is a row of the store: `{"table": "tasks", "run": …, "n": …, …}`. Every `append` adds a whole gzip member, so
`zcat` reads a file from its beginning to its end whatever came between. A process that died while it wrote leaves half
a member, which the next one cuts off. A row may be there twice, if the power failed between the archive and the
store; whoever reads lets the later one count.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from warrener.ids import RunId
from warrener.store import PastRow

_SUFFIX = ".jsonl.gz"
_PIECE_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS


class Archive:
    """The files of one writer below a folder."""

    def __init__(self, folder: Path, writer: str) -> None:
        self._folder, self._writer = folder, writer
        self._mended: set[Path] = set()

    def append(self, rows: Sequence[PastRow]) -> None:
        """Write rows to the files of the days on which their runs finished; they are on the disk when it returns.

        Raises OSError; nothing of a file's part is left then.
        """
        by_day: dict[str, list[PastRow]] = {}
        for row in rows:
            by_day.setdefault(row.finished_at.date().isoformat(), []).append(row)
        for day, some in by_day.items():
            self._append(self._folder / f"{day}.{self._writer}{_SUFFIX}", some)

    def _append(self, path: Path, rows: Sequence[PastRow]) -> None:
        lines = "".join(json.dumps({"table": row.table, **row.fields}, ensure_ascii=False) + "\n" for row in rows)
        self._folder.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        if path not in self._mended and not new:
            _mend(path)
        with path.open("ab") as file:
            size = file.tell()
            try:
                file.write(gzip.compress(lines.encode(errors="replace")))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        if new:
            _sync_folder(self._folder)
        self._mended.add(path)


def read_run(folder: Path, run: str) -> list[Mapping[str, Any]]:
    """Return the archived rows of a run, with its definition; none if no file has it."""
    found: dict[tuple[object, ...], Mapping[str, Any]] = {}
    definitions: dict[str, Mapping[str, Any]] = {}
    for line in _lines(folder):
        row: Mapping[str, Any] = json.loads(line)
        if row["table"] == "workflows":
            definitions[row["digest"]] = row
        elif run in (row.get("run"), row.get("id")):
            key = ("n", "upstream", "attempt", "stream", "start")
            found[(row["table"], row.get("id"), *(row.get(name) for name in key))] = row
    digests = {row["digest"] for row in found.values() if row["table"] == "runs"}
    return [*found.values(), *(row for digest, row in definitions.items() if digest in digests)]


def runs_in(folder: Path) -> Iterator[tuple[RunId, Mapping[str, Any]]]:
    """Go through the archived runs, the oldest days first; a run may come twice."""
    for line in _lines(folder):
        if line.startswith('{"table": "runs"'):
            row = json.loads(line)
            yield RunId(row["id"]), row


def _lines(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                yield from file
        except (EOFError, gzip.BadGzipFile):
            continue  # its writer is at it, or died there: what is whole has been read


def _mend(path: Path) -> None:
    """Cut off what is left of a member that was never finished."""
    whole = _whole_bytes(path)
    if whole < path.stat().st_size:
        os.truncate(path, whole)


def _whole_bytes(path: Path) -> int:
    """Return how many bytes from the beginning are whole members."""
    whole = read = 0
    member = zlib.decompressobj(_GZIP)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            read += len(piece)
            while piece:
                try:
                    member.decompress(piece)
                except zlib.error:
                    return whole
                if not member.eof:
                    break
                piece = member.unused_data
                whole = read - len(piece)
                member = zlib.decompressobj(_GZIP)
    return whole


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
