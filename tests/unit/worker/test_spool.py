"""Reports on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from owner import Owner
from warrener.messages import Outcome, Report
from warrener.worker import FolderSpool, Spooled


def entry(n: int = 0, output: str = "x") -> Spooled:
    order = Owner().make(n)
    report = Report(
        run=order.run, n=n, attempt=1, token="0" * 32, outcome=Outcome.SUCCEEDED, output=output, seconds=1.5
    )
    return Spooled(worker="w1", boot="b", report=report)  # type: ignore[arg-type]


async def test_what_was_put_is_loaded_until_it_is_dropped(tmp_path: Path) -> None:
    spool = FolderSpool(tmp_path / "spool" / "w1")
    assert list(await spool.load()) == []
    await spool.put([entry(0), entry(1)])
    await spool.put([entry(1, "newer")])
    assert list(await FolderSpool(tmp_path / "spool" / "w1").load()) == [entry(0), entry(1, "newer")]
    await spool.drop([entry(0).ref, entry(7).ref])
    assert list(await spool.load()) == [entry(1, "newer")]
    assert (tmp_path / "spool" / "w1").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"{", b'{"worker":"w1"}', b"\x00" * 4096, b"\xff\xfe"])
async def test_a_spoiled_file_is_moved_aside_and_the_others_are_loaded(tmp_path: Path, content: bytes) -> None:
    spool = FolderSpool(tmp_path)
    await spool.put([entry(0), entry(1)])
    broken = min(tmp_path.glob("*.json"))
    broken.write_bytes(content)
    assert list(await spool.load()) == [entry(1)]
    assert (tmp_path / "bad" / broken.name).read_bytes() == content
    assert list(await spool.load()) == [entry(1)]


async def test_a_file_under_a_strange_name_is_moved_aside(tmp_path: Path) -> None:
    spool = FolderSpool(tmp_path)
    await spool.put([entry(0)])
    next(tmp_path.glob("*.json")).rename(tmp_path / "other.json")
    assert list(await spool.load()) == []
    assert (tmp_path / "bad" / "other.json").exists()


async def test_a_draft_of_a_crash_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".x.json.draft").write_bytes(b"half")
    assert list(await FolderSpool(tmp_path).load()) == []
    assert not list(tmp_path.iterdir())
