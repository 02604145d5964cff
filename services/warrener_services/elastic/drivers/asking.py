"""Running a command of somebody else's, within a time, with its last words when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from warrener_services.elastic.driver import DriverFailed

_LAST_WORDS = 300
_DYING_WITHIN_S = 5.0


async def ask(argv: Sequence[str], *, within_s: float, folder: Path | None = None) -> str:
    """Run a command and return what it printed; raises DriverFailed.

    When it takes too long, or nobody waits any more, it is killed with all that it started.
    """
    shown = " ".join(argv)[:120]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise DriverFailed(f"`{shown}` cannot be run: {error.strerror or error}") from error
    done = False
    try:
        async with asyncio.timeout(within_s):
            printed, complained = await process.communicate()
        done = True
    except TimeoutError:
        raise DriverFailed(f"`{shown}` did not end within {within_s:g} s and was ended") from None
    finally:
        if not done:
            await _kill(process)
    if process.returncode:
        words = complained.decode(errors="replace").strip().splitlines()[-3:]
        raise DriverFailed(f"`{shown}` ended with {process.returncode}: {' / '.join(words)[:_LAST_WORDS]}")
    return printed.decode(errors="replace")


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a command and what it started, which may have its output, and so outlive it for whoever reads that."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # by sudo, it is not ours to kill
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):  # who left the command's session has its output still
        async with asyncio.timeout(_DYING_WITHIN_S):
            await process.wait()
