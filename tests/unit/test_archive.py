"""Archives: whole after any interruption, and readable from beginning to end."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from warrener.archive import Archive, read_run, runs_in
from warrener.ids import RunId
from warrener.store import PastRow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = RunId("a" * 16)


def row(table: str = "tasks", run: RunId = RUN, at: datetime = NOON, **fields: Any) -> PastRow:
    name = "id" if table == "runs" else "run"
    return PastRow(table, run, at, fields if table == "workflows" else {name: run, **fields})


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_for_each_day_and_writer(tmp_path: Path) -> None:
    Archive(tmp_path / "new", "one").append([row(n=0), row(n=1, at=NOON + timedelta(days=1))])
    Archive(tmp_path / "new", "two").append([row(n=2)])
    assert files(tmp_path / "new") == ["2026-03-01.one.jsonl.gz", "2026-03-01.two.jsonl.gz", "2026-03-02.one.jsonl.gz"]
    assert [found["n"] for found in read_run(tmp_path / "new", RUN)] == [0, 2, 1]


def test_a_run_comes_back_with_its_definition_and_once(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "one")
    archive.append([row(n=0, state="failed")])
    archive.append([row("workflows", digest="d", definition="{}"), row("workflows", digest="other")])
    for _ in range(2):
        archive.append([row(n=0, state="failed"), row("runs", digest="d"), row(n=0, run=RunId("b" * 16))])
    found = read_run(tmp_path, RUN)
    assert [one["table"] for one in found] == ["tasks", "runs", "workflows"]
    assert found[2]["digest"] == "d"
    assert [run for run, _ in runs_in(tmp_path)] == [RUN, RUN]
    assert read_run(tmp_path, "c" * 16) == []


@pytest.mark.parametrize("torn_bytes", [1, 5, 12, 40])
def test_half_a_member_is_cut_off_by_the_next_life(tmp_path: Path, torn_bytes: int) -> None:
    Archive(tmp_path, "one").append([row(n=0)])
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(gzip.compress(b'{"table": "tasks", "run": "x"}\n' * 3)[:torn_bytes])
    read_run(tmp_path, RUN)  # a reader takes what is whole
    Archive(tmp_path, "one").append([row(n=1)])
    assert [found["n"] for found in read_run(tmp_path, RUN)] == [0, 1]
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 2


def test_a_full_disk_leaves_no_half_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path, "one")
    archive.append([row(n=0)])

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        archive.append([row(n=1)])
    monkeypatch.undo()
    archive.append([row(n=2)])
    assert [found["n"] for found in read_run(tmp_path, RUN)] == [0, 2]
