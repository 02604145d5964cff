"""`file:` transfers: between a run's folder and the folders that the settings open to staging.

    file:relative/path      below the first of WARRENER_STAGE_ROOTS (by default the worker's current folder)
    file:/absolute/path     below any; for reading also below the site's environments and the run's folder
    file:///absolute/path   the same

Percent signs are decoded (`%20` is a space); `?` and `#` are ordinary characters.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from urllib.parse import unquote

from warrener.errors import Cause, TaskFailed
from warrener.site import Site
from warrener.threads import held, in_thread
from warrener.transfer import Transferred
from warrener.transfers.arrival import PIECE_BYTES, failure, receive
from warrener.transfers.paths import Beneath, below, open_source, within


class FileTransfer:
    """Copies within the file systems that this worker sees."""

    schemes: tuple[str, ...] = ("file",)

    def __init__(self, site: Site, roots: Sequence[Path]) -> None:
        self._runs = site.root / "runs"
        self._environments = site.environments
        self._roots = tuple(roots)

    async def fetch(
        self, source: str, destination: Path, *, sha256: str | None, progress: Callable[[int], None]
    ) -> Transferred:
        to = in_run(self._runs, destination)
        readable = (*self._roots, self._environments, self._runs / to.names[0])
        return await self._copy(self._find(source, readable), source, to, sha256, progress)

    async def deliver(self, source: Path, destination: str, *, progress: Callable[[int], None]) -> Transferred:
        to = self._find(destination, self._roots)
        return await self._copy(in_run(self._runs, source), str(source), to, None, progress)

    def _find(self, url: str, roots: Sequence[Path]) -> Beneath:
        path = _path_of(url)
        if not path.startswith("/"):
            if not self._roots:
                raise TaskFailed(Cause.REFUSED, f"{url} is relative, and WARRENER_STAGE_ROOTS names no folder")
            return below(self._roots[0], path)
        found = within(roots, path)
        if found is None:
            allowed = ", ".join(str(root) for root in self._roots) or "no folder"
            raise TaskFailed(
                Cause.REFUSED,
                f"{url} lies outside the folders open to staging ({allowed}): add its folder to the worker's"
                " WARRENER_STAGE_ROOTS, or stage from elsewhere",
            )
        return found

    async def _copy(
        self, source: Beneath, named: str, to: Beneath, sha256: str | None, progress: Callable[[int], None]
    ) -> Transferred:
        try:
            async with held(lambda: open_source(source), os.close) as file:
                about = os.fstat(file)
                return await receive(
                    _pieces(file),
                    named,
                    to,
                    size_bytes=about.st_size,
                    sha256=sha256,
                    progress=progress,
                    mode=about.st_mode & 0o777 | 0o600,  # a script stays executable; its owner can replace it
                )
        except OSError as error:
            raise failure(error, named, to) from error


def in_run(runs: Path, path: Path) -> Beneath:
    """Name a local file below a run's folder; raises TaskFailed(REFUSED) for any other."""
    file = below(runs, os.path.relpath(path, runs)) if ".." not in path.parts else None
    if file is None or len(file.names) < 2:  # noqa: PLR2004 - the run, and a file in it
        raise TaskFailed(Cause.REFUSED, f"{path} does not lie below the folder of a run in {runs}")
    return file


async def _pieces(file: int) -> AsyncIterator[bytes]:
    while piece := await in_thread(os.read, file, PIECE_BYTES):
        yield piece


def _path_of(url: str) -> str:
    path = url.partition(":")[2]
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host not in ("", "localhost"):
            raise TaskFailed(Cause.REFUSED, f"{url} names the host {host!r}: a file: URL has none; write file:/path")
        path = slash + rest
    return unquote(path)
