"""Two processes under one worker's name: the second waits for the end of the first."""

from __future__ import annotations

import asyncio
from pathlib import Path

from warrener.worker.one_life import one_life


async def test_the_second_life_begins_when_the_first_has_ended(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def second() -> None:
        async with one_life(tmp_path / "w", "w"):
            begun.set()

    async with asyncio.TaskGroup() as tasks:
        async with one_life(tmp_path / "w", "w"):
            tasks.create_task(second())
            await asyncio.sleep(0.3)  # longer than it looks again
            assert not begun.is_set()
        await asyncio.wait_for(begun.wait(), 5)


async def test_another_name_waits_for_nobody(tmp_path: Path) -> None:
    async with one_life(tmp_path / "v", "v"), asyncio.timeout(5), one_life(tmp_path / "w", "w"):
        pass
