"""A life leaves a proof behind, and the next one shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from warrener.ids import AttemptRef, BootId, RunId, WorkerName
from warrener.messages import Kind
from warrener.site import Site
from warrener.worker.identity import Identity
from warrener.worker.lives import Lives
from warrener.worker.spool import FolderSpool, MemorySpool, Spool

REF = AttemptRef(RunId("0" * 16), 0, 1)


@pytest.fixture(params=["folder", "memory"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return FolderSpool(tmp_path / "spool") if request.param == "folder" else MemorySpool()


async def a_life(spool: Spool, boot: str) -> Lives:
    who = Identity(WorkerName("job-a"), BootId(boot), Kind.JOB, (), Site("s", Path("/nowhere")), 1, "h")
    lives = Lives(who, spool)
    await lives.load()
    return lives


async def test_the_first_life_has_nothing_to_end(spool):
    assert (await a_life(spool, "b1")).ended(leaving=False) == []


async def test_a_life_ends_those_before_it(spool):
    first = await a_life(spool, "b1")
    await first.prove(REF, "a" * 32)
    second = await a_life(spool, "b2")
    assert [(life.boot, life.token, life.ref) for life in second.ended(leaving=False)] == [("b1", "a" * 32, REF)]


async def test_a_leaving_life_ends_itself(spool):
    life = await a_life(spool, "b1")
    await life.prove(REF, "a" * 32)
    assert life.ended(leaving=False) == []
    assert [ended.boot for ended in life.ended(leaving=True)] == ["b1"]


async def test_what_was_told_is_forgotten(spool):
    first = await a_life(spool, "b1")
    await first.prove(REF, "a" * 32)
    await (await a_life(spool, "b2")).forget_earlier()
    assert (await a_life(spool, "b3")).ended(leaving=False) == []


async def test_a_spoilt_proof_proves_nothing(tmp_path):
    first = await a_life(FolderSpool(tmp_path), "b1")
    await first.prove(REF, "a" * 32)
    (tmp_path / "lives" / "b1.json").write_text("{")
    assert (await a_life(FolderSpool(tmp_path), "b2")).ended(leaving=False) == []


async def test_what_is_granted_at_once_is_proved_once(tmp_path):
    life = await a_life(FolderSpool(tmp_path), "b1")
    async with asyncio.TaskGroup() as grants:
        for number in range(20):
            grants.create_task(life.prove(REF._replace(n=number), "a" * 32))
    (proof,) = (await a_life(FolderSpool(tmp_path), "b2")).ended(leaving=False)
    assert proof.ref == REF
