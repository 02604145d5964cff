"""Processes on this host, named for good, and what a dead runner may have left of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from warrener.targets import runner as runner_program


class Process(NamedTuple):
    """A process, named for good: its number alone may come again."""

    pid: int
    started: str
    boot: str


NOBODY = Process(0, "", "")
"""Stands in the record of an attempt that must not start any more."""


async def ended(process: Process) -> None:
    """Wait until a process, child or not, has ended."""
    with opened(process) as pidfd:
        if pidfd is not None:
            await readable(pidfd)


@contextlib.contextmanager
def opened(process: Process) -> Iterator[int | None]:
    """Lend a descriptor of exactly this process; None if it is gone."""
    if process.pid == 0 or process.boot != boot():
        yield None
        return
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        # Opened first, then looked at: if its number was given away, the start time tells.
        yield pidfd if _start_time(process.pid) == process.started else None
    finally:
        os.close(pidfd)


def lives(process: Process) -> bool:
    """Tell whether exactly this process has not ended; who has, and was not waited for, has."""
    with opened(process) as descriptor:
        if descriptor is None:
            return False
        asked = select.poll()
        asked.register(descriptor, select.POLLIN)
        return not asked.poll(0)


async def readable(descriptor: int) -> None:
    """Wait until a descriptor can be read, or its other side is closed."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, _tell, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def end_leftovers(runner: Process, mark: bytes) -> None:
    """Kill what a dead runner left: its session, and whoever carries `mark` in its environment."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        left = [pid for pid in _processes() if _belongs(pid, runner, mark)]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _belongs(pid: int, runner: Process, mark: bytes) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in b"ZX":
            return False
        return _in_session(int(fields[3]), runner) or mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _in_session(session: int, runner: Process) -> bool:
    # While a session has members, its number is nobody's but its first process's.
    return runner.pid > 0 and session == runner.pid and _start_time(session) in ("", runner.started)


def _processes() -> list[int]:
    names = (entry.name for entry in Path("/proc").iterdir())
    return [int(name) for name in names if name.isdecimal() and int(name) != os.getpid()]


def _start_time(pid: int) -> str:
    try:
        return runner_program.started_at(pid)
    except (ProcessLookupError, IndexError):
        return ""


def boot() -> str:
    """Return the id of this host's boot."""
    return runner_program.read_text("/proc/sys/kernel/random/boot_id")
