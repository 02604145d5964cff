"""Files below a root, and never outside it, whatever links somebody plants meanwhile.

A path is walked from a descriptor of its root, one name at a time, each relative to the folder already held
open and with O_NOFOLLOW. `..` is refused before the walk, links during it, so no step can leave the root, and
renaming folders under the walk only moves the work along with them. openat2(RESOLVE_BENEATH |
RESOLVE_NO_SYMLINKS) promises the same in one call, but is missing from the standard library, from containers
with older seccomp filters, and cannot create the folders on the way; the walk is one code for all of this.

The root itself is trusted: it comes from the settings, and may be a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from warrener.errors import Cause, TaskFailed

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK_ERRORS = frozenset({errno.ELOOP, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Beneath:
    """A file by its root and the names that lead to it from there."""

    root: Path
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[-1]

    @property
    def path(self) -> Path:
        return self.root.joinpath(*self.names)

    def __str__(self) -> str:
        return str(self.path)


def below(root: Path, relative: str) -> Beneath:
    """Name a file below a root; raises TaskFailed(REFUSED) for what leaves it or names no file."""
    if relative.startswith("/") or "\0" in relative:
        raise TaskFailed(Cause.REFUSED, f"the path {relative!r} must be relative to {root}")
    names = tuple(name for name in relative.split("/") if name not in ("", "."))
    if ".." in names:
        raise TaskFailed(Cause.REFUSED, f"the path {relative!r} may not contain '..': it must stay below {root}")
    if not names or relative.endswith(("/", "/.")):
        raise TaskFailed(Cause.REFUSED, f"the path {relative!r} names a folder: add the name of the file")
    return Beneath(root, names)


def within(roots: Sequence[Path], path: str) -> Beneath | None:
    """Find the root that an absolute path lies below, by its spelling; None if there is none."""
    for root in roots:
        for spelling in (str(root.absolute()), str(root.resolve())):
            prefix = spelling.rstrip("/") + "/"
            if path.startswith(prefix):
                return below(root, path[len(prefix) :].lstrip("/"))
    return None


@contextmanager
def open_folder(file: Beneath, *, create: bool = False) -> Iterator[int]:
    """Hold the folder of a file open, as a descriptor; `create` makes the folders on the way below the root.

    Raises OSError as the system does, and TaskFailed(REFUSED) at a link.
    """
    if create:
        file.root.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for depth, name in enumerate(file.names[:-1], start=1):
            deeper = _step(folder, name, file, depth, create=create)
            os.close(folder)
            folder = deeper
        yield folder
    finally:
        os.close(folder)


def open_source(file: Beneath) -> int:
    """Open a regular file for reading; raises OSError, or TaskFailed(REFUSED) at a link or a device."""
    with open_folder(file) as folder:
        try:
            # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
            descriptor = os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            _refuse_link(error, folder, file, len(file.names))
            raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory; stage its files, or an archive of it", str(file))
    raise TaskFailed(Cause.REFUSED, f"{file} is a pipe, a socket or a device, not a file")


def _step(folder: int, name: str, file: Beneath, depth: int, *, create: bool) -> int:
    if create:
        try:
            os.mkdir(name, dir_fd=folder)
        except FileExistsError:
            pass
        else:
            os.fsync(folder)
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        _refuse_link(error, folder, file, depth)
        raise


def _refuse_link(error: OSError, folder: int, file: Beneath, depth: int) -> None:
    """Raise TaskFailed if a link was what stopped the walk at this depth."""
    if error.errno not in _LINK_ERRORS:
        return
    try:
        mode = os.stat(file.names[depth - 1], dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return
    if stat.S_ISLNK(mode):
        link = file.root.joinpath(*file.names[:depth])
        raise TaskFailed(
            Cause.REFUSED, f"{link} is a symbolic link: staging follows none; name the file it leads to"
        ) from error
