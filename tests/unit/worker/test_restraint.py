"""What keeps a worker from filling its slots."""

from __future__ import annotations

from pathlib import Path

from warrener.clock import SystemClock
from warrener.messages import Limit
from warrener.worker.load import Sample, Thresholds
from warrener.worker.restraint import Restraint
from warrener.worker.slots import Slots
from warrener.worker.spool import FolderSpool, MemorySpool, Spool


class Told:
    """Counts how often schedulers should hear of a change."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def restraint(slots: Slots, spool: Spool, told: Told, memory_free: float = 0.5) -> Restraint:
    return Restraint(
        slots, spool, SystemClock(), thresholds=Thresholds(3, 8, 0.08, 0.03),
        host=lambda: Sample(0, 2, memory_free), changed=told,
    )  # fmt: skip


async def test_a_limit_closes_slots_and_none_opens_them() -> None:
    slots, told = Slots(4), Told()
    one = restraint(slots, MemorySpool(), told)
    await one.heed(Limit(slots=1, reason="a probe"))
    assert (slots.open, one.limit, told.times) == (1, 1, 1)
    await one.heed(Limit(slots=1, reason="said again"))
    assert told.times == 1
    await one.heed(Limit())
    assert (slots.open, one.limit, told.times) == (4, None, 2)


async def test_a_limit_outlives_the_worker(tmp_path: Path) -> None:
    await restraint(Slots(4), FolderSpool(tmp_path), Told()).heed(Limit(slots=0, reason="drained"))
    slots = Slots(4)
    again = restraint(slots, FolderSpool(tmp_path), Told())
    await again.load()
    assert (slots.open, again.limit) == (0, 0)
    await again.heed(Limit())
    third = restraint(Slots(4), FolderSpool(tmp_path), Told())
    await third.load()
    assert third.limit is None


async def test_a_limit_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "limit").mkdir()
    (tmp_path / "limit" / "limit.json").write_text("{")
    one = restraint(Slots(4), FolderSpool(tmp_path), Told())
    await one.load()
    assert one.limit is None


async def test_load_and_limit_close_the_larger_part(tmp_path: Path) -> None:
    slots, told = Slots(4), Told()
    one = restraint(slots, FolderSpool(tmp_path), told, memory_free=0.01)
    one.look()
    assert (slots.open, one.by_load, told.times) == (0, 4, 1)
    await one.heed(Limit(slots=3))
    assert slots.open == 0
