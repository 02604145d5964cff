"""A worker's tag: told, told again when it was lost, shortened when there is no room, and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from warrener import tags
from warrener.gossip import Member, Status
from warrener.gossips.static import StaticGossip
from warrener.ids import WorkerName
from warrener.messages import Kind
from warrener.tags import WorkerTag
from warrener.worker.beacon import Beacon

TAG = WorkerTag(Kind.JOB, "up", "b1", 3, 4, site="local", load=0.5, digest="abcdefgh")
NAME = WorkerName("job-a")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warrener.worker.beacon.EVERY_S", 0.005)


def pool(**told: str) -> StaticGossip:
    return StaticGossip([Member("hare", Status.ALIVE, tags=told)], own_name="hare")


async def shines(gossip: StaticGossip, until: Callable[[dict[str, str]], object], **more: object) -> None:
    beacon = asyncio.create_task(Beacon(gossip, NAME, lambda: TAG, **more).run())
    try:
        async with asyncio.timeout(10):
            while not until(dict(await gossip.told())):
                await asyncio.sleep(0.005)
    finally:
        beacon.cancel()
        with suppress(asyncio.CancelledError):
            await beacon


async def test_the_tag_is_there_while_the_worker_is() -> None:
    gossip, names = pool(), []
    await shines(gossip, lambda told: told.get("w:job-a") == tags.write(TAG), member=names.append)
    assert dict(await gossip.told()) == {}
    assert "hare" in names


async def test_a_tag_that_the_agent_has_lost_is_told_again() -> None:
    gossip, lost = pool(), []

    def lose(told: dict[str, str]) -> bool:
        if not lost and "w:job-a" in told:
            lost.append(True)
            gossip._members["hare"] = Member("hare", Status.ALIVE)
            return False
        return bool(lost) and "w:job-a" in told

    await shines(gossip, lose)


async def test_where_there_is_little_room_the_tag_is_a_short_one() -> None:
    gossip = pool(other="x" * 470)
    with capture_logs() as logs:
        await shines(gossip, lambda told: told.get("w:job-a") == tags.write(TAG, short=True))
    assert "short one" in str(logs)


async def test_where_there_is_no_room_it_is_said_plainly_and_once() -> None:
    gossip, looks = pool(other="x" * 490), []
    with capture_logs() as logs:
        await shines(gossip, lambda _: looks.append(1) or len(looks) > 30)
    said = [line for line in logs if "do not fit into 512 bytes" in line["event"]]
    assert len(said) == 1
    assert said[0]["worker"] == NAME
