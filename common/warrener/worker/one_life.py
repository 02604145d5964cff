"""One life at a time: two processes of one worker's name at one site would spoil each other's spool and attempts.

Because the second waits for the first to end, a worker's heartbeat may say that what its earlier life held, and it has
not taken back, is over.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

LOOK_EVERY_S = 0.2

log = structlog.get_logger("warrener.worker")


@asynccontextmanager
async def one_life(folder: Path, name: str) -> AsyncIterator[None]:
    """Hold a worker's name, by a lock in its own folder at the site; waits while another process holds it."""
    descriptor = _opened(folder)
    try:
        said = False
        while not _locked(descriptor):
            if not said:
                log.warning("another process works under this name; waiting for its end", worker=name)
                said = True
            await asyncio.sleep(LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
