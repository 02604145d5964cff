"""A file on its way to its name: written beside it, checked, and renamed into place when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Self

from warrener.errors import Cause, TaskFailed
from warrener.threads import held, in_thread
from warrener.transfer import Transferred
from warrener.transfers.paths import Beneath, open_folder

PIECE_BYTES = 4 * 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Arrival:
    """A file being written below a root under a temporary name. Methods block: call them in a thread.

    Raises OSError as the system does; `receive` gives these their sentence.
    """

    def __init__(self, destination: Beneath, size_bytes: int | None, mode: int) -> None:
        self.destination = destination
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._temporary: str | None = f".{destination.name[:200]}.{secrets.token_hex(4)}.part"
        with open_folder(destination, create=True) as folder:
            self._folder = os.dup(folder)
        try:
            self._refuse_what_cannot_fit(size_bytes)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._temporary, flags, mode, dir_fd=self._folder)
        except BaseException:
            os.close(self._folder)
            raise

    @classmethod
    def begin(cls, destination: Beneath, *, size_bytes: int | None, mode: int = 0o666) -> Self:
        """Make the folders and the temporary file. `size_bytes` is what is announced, if anything is."""
        return cls(destination, size_bytes, mode)

    def write(self, piece: bytes) -> int:
        """Append a piece; return the bytes so far."""
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._digest.update(piece)
        self.size_bytes += len(piece)
        return self.size_bytes

    def finish(self) -> str:
        """Put the file in its place, durably; return its digest."""
        assert self._temporary is not None
        os.fsync(self._file)
        os.rename(self._temporary, self.destination.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._temporary = None
        os.fsync(self._folder)
        return self.sha256

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        """Release the descriptors, and remove the file if it was not finished."""
        os.close(self._file)
        if self._temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder)
        os.close(self._folder)

    def _refuse_what_cannot_fit(self, size_bytes: int | None) -> None:
        room = os.fstatvfs(self._folder)
        if size_bytes is not None and size_bytes > room.f_bavail * room.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def receive(
    pieces: AsyncIterator[bytes],
    source: str,
    destination: Beneath,
    *,
    size_bytes: int | None,
    sha256: str | None,
    progress: Callable[[int], None],
    mode: int = 0o666,
) -> Transferred:
    """Write what comes to its destination, whole and checked, or not at all; raises TaskFailed."""
    written_bytes = 0
    try:
        async with held(lambda: Arrival.begin(destination, size_bytes=size_bytes, mode=mode), Arrival.close) as arrival:
            async for piece in pieces:
                written_bytes = await in_thread(arrival.write, piece)
                progress(written_bytes)
            _check(arrival, source, size_bytes, sha256)
            digest = await in_thread(arrival.finish)
            return Transferred(str(destination), arrival.size_bytes, digest)
    except OSError as error:
        raise failure(error, source, destination, size_bytes, written_bytes) from error


def _check(arrival: Arrival, source: str, size_bytes: int | None, sha256: str | None) -> None:
    if size_bytes is not None and arrival.size_bytes != size_bytes:
        raise TaskFailed(
            Cause.STAGE,
            f"cannot stage {source} to {arrival.destination}: {arrival.size_bytes} bytes came instead of the"
            f" {size_bytes} announced; the source was cut off or changed meanwhile",
        )
    if sha256 is not None and arrival.sha256 != sha256.lower():
        raise TaskFailed(
            Cause.STAGE,
            f"cannot stage {source} to {arrival.destination}: its sha256 is {arrival.sha256},"
            f" but {sha256} was expected; the source is corrupt or has changed",
        )


def failure(
    error: OSError, source: str, destination: Beneath, size_bytes: int | None = None, written_bytes: int = 0
) -> TaskFailed:
    """Say what a system error means for a transfer."""
    said = f"cannot stage {source} to {destination}: "
    if error.errno in _FULL:
        return TaskFailed(Cause.STAGE, said + _full(error, destination, size_bytes, written_bytes))
    reasons: dict[int | None, str] = {
        errno.ENOENT: "there is no such file",
        errno.EISDIR: "it is a directory; stage its files, or an archive of it",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.EACCES: "the worker's user may not",
        errno.ENAMETOOLONG: "the name is too long",
        errno.EROFS: "the file system is read-only",
    }
    reason = reasons.get(error.errno, error.strerror or str(error))
    at = f" ({error.filename})" if error.filename else ""
    return TaskFailed(Cause.STAGE, f"{said}{reason}{at}")


def _full(error: OSError, destination: Beneath, size_bytes: int | None, written_bytes: int) -> str:
    what = "the quota is used up" if error.errno == errno.EDQUOT else "the disk is full"
    if size_bytes is None:
        needed = f"it gave way after {written_bytes} bytes, of a size that the source does not announce"
    else:
        try:
            room = os.statvfs(destination.root)
            free_bytes = room.f_bavail * room.f_frsize
            needed = f"{size_bytes} bytes are needed, {free_bytes} are free"
        except OSError:
            needed = f"{size_bytes} bytes are needed"
    return f"{what}: {needed}; make room below {destination.root}, then retry"
