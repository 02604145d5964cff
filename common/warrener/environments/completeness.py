"""When a folder is an environment: one builder at a time, and a mark that appears last.

A venv knows its own path (the first lines of its scripts, and what packages write down while they are built),
so it cannot be built elsewhere and renamed into place; `uv venv --relocatable` covers the scripts, but
neither packages nor pip. It is therefore built where it will stay, and becomes an environment by the atomic
rename of a file `.complete` that holds the digest, after everything is on disk. A folder without the mark is
rubble: whoever holds the lock removes it.

The lock is flock(2) on a file beside the folder. Each build opens the file anew, so the lock also excludes
builds of the same process, and the system releases it however a process dies. Builders inherit the
descriptor: when a worker is killed and its builder lives on, the lock is held until the builder has ended
too, and nobody writes into a new build.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_MARK = ".complete"
_ASK_AGAIN_S = 0.1


def is_complete(folder: Path, digest: str) -> bool:
    """Tell whether the folder is the environment of this digest, with a Python that runs."""
    try:
        marked = (folder / _MARK).read_text(encoding="ascii").strip() == digest
    except (OSError, UnicodeDecodeError):
        return False
    # The link of a venv breaks when the host's Python is removed.
    return marked and os.access(folder / "bin" / "python", os.X_OK)


def publish(folder: Path, digest: str) -> None:
    """Mark a folder as complete, durably. Blocks until everything in it is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        fresh = folder / f"{_MARK}.new"
        with fresh.open("w", encoding="ascii") as file:
            file.write(digest + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(folder / _MARK)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Remove a folder, its mark first; nothing happens if it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        (folder / _MARK).unlink()
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


@asynccontextmanager
async def only_builder(folder: Path, *, on_wait: Callable[[], None]) -> AsyncIterator[int]:
    """Hold the folder's lock, and hand out its descriptor; `on_wait` hears once that somebody else has it.

    Asks again and again instead of blocking, so that it can be cancelled.
    """
    lock = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not _locked(lock):
            on_wait()
            while not _locked(lock):  # noqa: ASYNC110 - the other holder is another process
                await asyncio.sleep(_ASK_AGAIN_S)
        yield lock
    finally:
        # Closing alone would not do: a daemon that a builder left behind may have inherited the descriptor.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
