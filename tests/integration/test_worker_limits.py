"""What a worker keeps while nothing can leave it, or its disk is full: bounded, told, and not lost."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from owner import Life, Owner, Scripted
from warrener.broker import Message
from warrener.brokers.memory import MemoryBroker
from warrener.errors import BrokerBlocked
from warrener.ids import AttemptRef, BootId, WorkerName
from warrener.messages import Kind, Logs, Outcome, Report, Reports
from warrener.performer import Assignment
from warrener.site import Site
from warrener.worker import FolderSpool, Spooled, direct, printed
from warrener.worker.direct import DirectReports
from warrener.worker.endings import succeeded
from warrener.worker.identity import Identity
from warrener.worker.post import Post
from warrener.worker.printed import Printer
from warrener.worker.running import unheard
from warrener.worker.work import Work

SITE = Site("s1", Path("/nonexistent"))
WHO = Identity(WorkerName("w1"), BootId("b"), Kind.CALL, ("demo",), SITE, 4, "h", None)


class Blocked(MemoryBroker):
    """A broker with an alarm."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()
        self.sent: list[Message] = []

    async def publish(self, message: Message) -> None:
        if not self.over.is_set():
            raise BrokerBlocked("the broker is blocked: memory alarm")
        self.sent.append(message)


def work(n: int, *, claimed: bool = False) -> Work:
    order = Owner().make(n, kind=Kind.CALL, app="demo")
    assignment = Assignment(order, SITE, "0" * 32, BootId("b"), None, unheard)
    return Work(assignment, order.ref, 0.0, claimed=claimed)


async def test_while_many_reports_cannot_leave_no_more_calls_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "MAX_WAITING_BYTES", 100_000)
    broker, settled = Blocked(), []
    async with asyncio.TaskGroup() as tasks:
        reports = DirectReports(WHO, Post(broker, Random(1)), Random(1), tasks.create_task, settled=settled.append)
        for n in range(4):
            one = work(n)
            one.ending = succeeded("x" * 30_000, 0.1)
            assert reports.room.is_set()
            reports.add(one)
        assert not reports.room.is_set()
        broker.over.set()
        async with asyncio.timeout(20):
            await reports.drain()
        assert reports.room.is_set()
    assert len(settled) == 4
    assert sum(message.body.count(b'"outcome"') for message in broker.sent if message.kind == Reports.KIND) == 4


async def test_what_attempts_print_while_nothing_can_be_sent_is_bounded_for_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(printed, "MAX_WAITING", 10_000)
    broker = Blocked()
    printer = Printer(WHO, Post(broker, Random(1)))
    many = [work(n, claimed=True) for n in range(50)]
    for one in many:
        printer.connect(one)
        for _ in range(10):
            one.assignment.log("stdout", "x" * 500)
    broker.over.set()
    for _ in range(3):
        await printer.flush()
    sent = b"".join(message.body for message in broker.sent if message.kind == Logs.KIND)
    assert 9_000 <= sent.count(b"x" * 10) * 10 <= 10_000
    assert sent.count(b"nothing could be sent") >= 45
    late = work(99, claimed=True)
    printer.connect(late)
    late.assignment.log("stdout", "y" * 500)  # there is room again
    await printer.flush()
    assert b"y" * 500 in broker.sent[-1].body


def entry(n: int, output: str) -> Spooled:
    order = Owner().make(n)
    report = Report(run=order.run, n=n, attempt=1, token="0" * 32, outcome=Outcome.SUCCEEDED, output=output)
    return Spooled(worker="w1", boot="b", report=report)  # type: ignore[arg-type]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Lend a disk of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_with_a_full_disk_reports_are_sent_all_the_same_and_it_is_told(small_disk: Path) -> None:
    spool = FolderSpool(small_disk / "spool")
    await spool.load()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(b"x" * 200_000)
    owner, performer = Owner(), Scripted()
    await owner.listen()
    with capture_logs() as logs:
        async with asyncio.timeout(20), Life(owner, performer, SITE, spool=spool):
            for n in range(2):
                await owner.order(owner.make(n))
                await owner.grant(await owner.claims())
                report = await owner.report()
                await owner.receive(report)
                await performer.until(lambda ref=report.ref: ref in performer.forgotten)
            ballast.unlink()  # there is room again: what comes now is kept
            await owner.order(owner.make(2))
            await owner.grant(await owner.claims())
            kept: AttemptRef = (await owner.report()).ref
            assert [entry.ref for entry in await spool.load()] == [kept]
    told = [line for line in logs if line["event"].startswith("cannot write to the spool")]
    assert told
    assert "No space left" in told[0]["error"]
    assert not list((small_disk / "spool").glob(".*.draft"))


async def test_what_does_not_fit_leaves_no_half_of_itself_behind(small_disk: Path) -> None:
    spool = FolderSpool(small_disk / "spool")
    await spool.load()
    entries = [entry(n, "x" * 60_000) for n in range(4)]
    await spool.put(entries[:1])
    with pytest.raises(OSError, match="No space left"):
        await spool.put(entries[1:])
    assert not list((small_disk / "spool").glob(".*.draft"))
    assert entries[0] in await spool.load()
