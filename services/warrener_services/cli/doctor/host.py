"""This host: room and rights in its folders, the keys, and the programs that others need."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from warrener.errors import InvalidSettings
from warrener.settings import Settings
from warrener.signing import read_keys, read_submit_key, read_verifier

from .findings import Finding, Look, fault, unused, warning, well

_FULL_BYTES = 100 * 1024**2
_SHORT_BYTES = 1024**3
_FEW_INODES = 10_000
_SLOW_FSYNC_S = 0.1
_IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class FolderSeen:
    """A folder, or the nearest one above it that is there."""

    path: Path
    what: str
    free_bytes: int
    free_inodes: int | None
    """None where the file system does not count them."""
    file_system: str
    fsync_s: float | None
    """How long it took to write a little and have it on the disk."""
    trouble: str
    """Why nothing can be written; empty if it can."""


async def look_at_keys(settings: Settings) -> list[Finding]:
    """Look at the deployment's keys, as far as they are here."""
    return list(_keys(settings.keys_folder))


async def look_at_secrets(settings: Settings) -> list[Finding]:
    """Look at who else can read the secrets of jobs."""
    return list(_secrets(settings.secrets_folder))


async def look_at_folder(what: str, settings: Settings) -> list[Finding]:
    """Look at a folder; nothing is said of one that is looked at under another name."""
    paths = _named(settings)
    first = next(name for name, path in paths.items() if path == paths[what])
    return list(judge_folder(_seen(what, paths[what]))) if first == what else []


async def look_at_programs(settings: Settings) -> list[Finding]:
    """Look for the programs that others need."""
    return list(_programs(settings))


LOOKS: Sequence[tuple[str, Look]] = (
    ("keys", look_at_keys),
    ("secrets", look_at_secrets),
    *((f"{what} folder", partial(look_at_folder, what)) for what in ("state", "site", "archive")),
    ("programs", look_at_programs),
)
"""What there is to look at, by name, so that it is known which one hangs."""


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _named(settings: Settings) -> Mapping[str, Path]:
    return {"state": settings.state, "site": settings.site_folder, "archive": settings.archive_folder}


def _seen(what: str, path: Path) -> FolderSeen:
    place = next((one for one in (path, *path.parents) if one.is_dir()), Path("/"))
    numbers = os.statvfs(place)
    fsync_s, trouble = _try_to_write(place)
    return FolderSeen(
        path=path,
        what=what,
        free_bytes=numbers.f_bavail * numbers.f_frsize,
        free_inodes=numbers.f_favail if numbers.f_files else None,
        file_system=_file_system(place),
        fsync_s=fsync_s,
        trouble=trouble,
    )


def _try_to_write(place: Path) -> tuple[float | None, str]:
    begun_s = time.monotonic()
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=place) as file:
            file.write(b"doctor" * 100)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return None, f"nothing can be written to {place}: {error.strerror or error}"
    return time.monotonic() - begun_s, ""


def _file_system(place: Path) -> str:
    """Return the type of the file system that a folder is on, as the kernel calls it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    above = [(point, kind) for point, kind in mounts if place.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1]


def judge_folder(seen: FolderSeen) -> Iterator[Finding]:
    """Say what there is to say of a folder."""
    about = f"{seen.what} folder"
    room = f"{seen.free_bytes / 1024**3:.1f} GiB free"
    if seen.trouble:
        yield fault(about, f"{seen.path}: {seen.trouble}", f"let this user write there, or set {_setting(seen.what)}")
        return
    if seen.free_bytes < _FULL_BYTES:
        yield fault(about, f"{seen.path}: {room}", "make room: reports and results cannot be kept without")
    elif seen.free_bytes < _SHORT_BYTES:
        yield warning(about, f"{seen.path}: {room}", "make room soon")
    elif seen.free_inodes is not None and seen.free_inodes < _FEW_INODES:
        yield warning(
            about, f"{seen.path}: only {seen.free_inodes} more files fit", "remove files, or make a larger disk"
        )
    else:
        yield well(about, f"{seen.path}: {room}, and it can be written to")
    if seen.file_system in _IN_MEMORY:
        yield warning(
            about, f"{seen.path} is in memory ({seen.file_system}): what is there is gone after a restart of this host",
            f"set {_setting(seen.what)} to a folder on a disk",
        )  # fmt: skip
    if seen.fsync_s is not None and seen.fsync_s > _SLOW_FSYNC_S:
        yield warning(
            about, f"{seen.path}: to have a little on the disk took {seen.fsync_s * 1000:.0f} ms",
            "look for what else writes to this disk: each finished job waits that long",
        )  # fmt: skip


def _setting(what: str) -> str:
    return {"state": "WARRENER_STATE", "site": "WARRENER_SITE_ROOT", "archive": "WARRENER_ARCHIVE"}[what]


# ── keys and secrets ────────────────────────────────────────────────────────────────────────────────────────────


def _keys(folder: Path) -> Iterator[Finding]:
    """Which programs could start with the keys that are here."""
    readers = {"schedulers": read_keys, "workers": read_verifier, "clients that submit by message": read_submit_key}
    if not folder.is_dir():
        yield unused("keys", f"there is no {folder} yet; `warrener keys {folder}` makes the keys of a new deployment")
        return
    able, wrong = [], []
    for who, read in readers.items():
        try:
            read(folder)
        except PermissionError as error:
            wrong.append(f"{folder} cannot be read: {error.strerror}")
        except InvalidSettings as error:
            if "there is no" not in str(error):
                wrong.append(str(error))
        else:
            able.append(who)
    for sentence in dict.fromkeys(wrong):
        yield fault("keys", sentence, "then run this again")
    if able:
        yield well("keys", f"{folder} has what {', '.join(able)} need")
    elif not wrong:
        yield fault("keys", f"{folder} has no key of a deployment", "copy them from the host where they were made")


def _secrets(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    try:
        loose = sorted(one.name for one in folder.iterdir() if one.is_file() and one.stat().st_mode & 0o077)
    except OSError as error:
        yield fault("secrets", f"{folder} cannot be read: {error.strerror}", "let this user read it, and nobody else")
        return
    if loose:
        yield fault("secrets", f"others can read {', '.join(loose)} in {folder}", f"run: chmod 600 {folder}/*")
    else:
        yield well("secrets", f"{folder}: nobody else can read them")


# ── programs ────────────────────────────────────────────────────────────────────────────────────────────────────


def _programs(settings: Settings) -> Iterator[Finding]:
    path = os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
    uv = shutil.which("uv", path=path)
    if uv is None and settings.env_builder == "uv":
        yield fault("programs", "WARRENER_ENV_BUILDER is uv, and there is no uv", "install it, or set auto")
    elif uv is None and settings.env_builder == "auto":
        yield warning("programs", "there is no uv: environments are built by pip, which is slower", "install uv")
    else:
        yield well("programs", f"Python {sys.version.split()[0]}{', uv' if uv else ''}")
