"""This host as a target: each job under a runner process of its own, which outlives the worker.

An attempt is a folder (`warrener.targets.runner` lists its files). It appears whole, by a rename, before
anything runs; the runner's record in it appears at most once. From the two follows what may be said of an
attempt:

    no folder                       never heard of it
    folder, no record               intent only: starting it is safe
    record, its process lives       it runs
    record and end.json             it ended
    record, no process, no end      its runner was killed: end what is left of it, never start it again
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from warrener.errors import Cause, TaskFailed
from warrener.ids import AttemptRef
from warrener.target import Ended, Job, Started
from warrener.targets import attempt_folder as disk
from warrener.targets.processes import ended as process_ended
from warrener.targets.processes import readable

STARTING_AT_ONCE = 4
"""Loading a program holds the event loop for a moment: in between, others shall have their turn."""
START_WITHIN_S = 30.0
"""A runner that takes longer hangs, as on a dead file system; the attempt then never starts."""


class LocalTarget:
    """Runs jobs on this host; `attempts` is the folder of the attempts' folders."""

    def __init__(self, attempts: Path) -> None:
        self._attempts = attempts.absolute()
        self._children: set[int] = set()
        self._turns = asyncio.Semaphore(STARTING_AT_ONCE)

    async def start(self, ref: AttemptRef, job: Job, *, lease_until_s: float, note: str) -> Started:
        folder = self._attempts / f"{ref.run}-{ref.n}-{ref.attempt}"
        try:
            await asyncio.to_thread(disk.record_intent, folder, job, lease_until_s, note)
            if not (folder / "runner").exists():
                await asyncio.to_thread(disk.write_lease, folder, lease_until_s)
                async with self._turns:
                    await self._launch(folder, job)
        except OSError as error:
            raise TaskFailed(
                Cause.ERROR,
                f"no runner could be started for attempt {ref}: {error}; look at the worker's host",
                blames_host=True,
            ) from error
        return await asyncio.to_thread(disk.started, ref, folder)

    async def wait(self, started: Started) -> Ended:
        folder = started.folder
        ended = await asyncio.to_thread(disk.read_end, folder)
        if ended is None:
            process = await asyncio.to_thread(disk.record_of, folder)
            await process_ended(process)
            ended = await asyncio.to_thread(disk.settle, folder, process)
        self._reap()
        return ended

    async def extend(self, started: Started, lease_until_s: float) -> None:
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(disk.write_lease, started.folder, lease_until_s)

    async def stop(self, started: Started, reason: Literal["cancelled", "not yours"]) -> None:
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(disk.tell_to_stop, started.folder, reason)

    async def found(self) -> Sequence[Started]:
        return await asyncio.to_thread(lambda: list(disk.attempts_in(self._attempts)))

    async def lost(self, started: Started) -> bool:
        return await asyncio.to_thread(disk.is_lost, started.folder)

    async def forget(self, started: Started) -> None:
        await asyncio.to_thread(disk.remove, started.folder)
        self._reap()

    async def _launch(self, folder: Path, job: Job) -> None:
        """Start a runner, and wait until it, or another one, has the attempt."""
        told, tell = os.pipe()
        try:
            with disk.secrets_file(job) as secrets, (folder / "runner.log").open("ab") as log:
                argv = [sys.executable, "-I", "-S", disk.program(), str(folder)]
                ends = ((secrets, 0), (tell, 1), (log.fileno(), 2))
                # It neither copies this process nor leaves an object that must be waited for.
                pid = os.posix_spawn(  # noqa: ASYNC221 - it returns as soon as the program is loaded
                    sys.executable,
                    argv,
                    {},  # nothing of the worker's environment: it may hold passwords
                    file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for end, number in ends],
                    setsid=True,
                    setsigmask=[],
                    setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD],
                )
                self._children.add(pid)
            os.close(tell)
            tell = -1
            await self._taken(folder, pid, told)
        finally:
            for end in (told, tell):
                if end >= 0:
                    os.close(end)
            self._reap()

    async def _taken(self, folder: Path, pid: int, told: int) -> None:
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await readable(told)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)  # it is a child that nobody has waited for: the number is its own
            if (await asyncio.to_thread(disk.record_of, folder)).pid == 0:
                raise OSError(f"the runner did nothing for {START_WITHIN_S:g} s; it was killed") from None
            return
        if not os.read(told, 1) and not (folder / "runner").exists():
            raise OSError(f"the runner ended at once: {disk.end_of(folder / 'runner.log')}")

    def _reap(self) -> None:
        for pid in tuple(self._children):
            try:
                gone = os.waitpid(pid, os.WNOHANG)[0]
            except ChildProcessError:
                gone = pid
            if gone:
                self._children.discard(pid)
