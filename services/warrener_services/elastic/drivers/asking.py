"""Running a command of somebody else's, within a time, with its last words when it fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from warrener_services.elastic.driver import DriverFailed

_LAST_WORDS = 300


async def ask(argv: Sequence[str], *, within_s: float, folder: Path | None = None) -> str:
    """Run a command and return what it printed; raises DriverFailed."""
    shown = " ".join(argv)[:120]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise DriverFailed(f"`{shown}` cannot be run: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(within_s):
            printed, complained = await process.communicate()
    except TimeoutError:
        raise DriverFailed(f"`{shown}` did not end within {within_s:g} s and was ended") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        words = complained.decode(errors="replace").strip().splitlines()[-3:]
        raise DriverFailed(f"`{shown}` ended with {process.returncode}: {' / '.join(words)[:_LAST_WORDS]}")
    return printed.decode(errors="replace")
