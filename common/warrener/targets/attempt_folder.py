"""The folder of an attempt: what is written into it before a runner starts, and what it says afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from warrener.ids import AttemptRef, RunId
from warrener.target import Ended, Job, Started
from warrener.targets import runner as runner_program
from warrener.targets.processes import NOBODY, Process, boot, end_leftovers, lives, opened

OUTPUT = "output.json"
_FOLDER = re.compile(r"([0-9a-z]{16})-(\d{1,9})-(\d{1,9})")
_ROOM_BYTES = 64 * 1024
"""With less than this left on its disk, a folder is taken for full."""
_UNFINISHED_S = 3600.0
"""A folder that was being made or removed so long ago belongs to a worker that died over it."""


def record_intent(folder: Path, job: Job, lease_until_s: float, note: str) -> None:
    """Let the attempt's folder appear, whole and on disk, unless it is there."""
    if folder.exists():
        return
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))  # 0700
    try:
        _write_durably(new / "spec", _spec(job, folder))
        _write_durably(new / "note", note.encode())
        write_lease(new, lease_until_s)
        _sync_folder(new)
        new.rename(folder)  # fails if the folder is there by now: it is not empty
        _sync_folder(folder.parent)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        if not folder.exists():
            raise


def _spec(job: Job, folder: Path) -> bytes:
    env = {**job.env, "WARRENER_OUTPUT": str(folder / OUTPUT)}
    records = [
        *(f"argv={word}" for word in job.argv),
        *(f"env={name}={value}" for name, value in env.items()),
        f"cwd={job.folder.absolute()}",
        f"keep_bytes={job.keep_bytes}",
        f"grace_s={job.grace_s}",
    ]
    if job.timeout_s is not None:
        records.append(f"timeout_s={job.timeout_s}")
    return _records(records)


def _records(records: Sequence[str]) -> bytes:
    if any("\0" in record for record in records):
        raise OSError("its command or environment contains the character NUL, which no process can be given")
    return b"".join(os.fsencode(record) + b"\0" for record in records)


@contextlib.contextmanager
def secrets_file(job: Job) -> Iterator[int]:
    """Lend a file that exists in memory only."""
    file = os.memfd_create("secrets", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(_records([f"{name}={value}" for name, value in job.secrets.items()]))
        os.lseek(file, 0, os.SEEK_SET)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        yield file
    finally:
        os.close(file)


def program() -> str:
    """Return the runner's compiled file if Python could keep one: it starts in half the time."""
    compiled: str | None = getattr(runner_program, "__cached__", None)
    return compiled if compiled and Path(compiled).exists() else str(runner_program.__file__)


def attempts_in(attempts: Path) -> Iterator[Started]:
    """List the attempts that were started and not forgotten; clear away what was never finished."""
    if not attempts.is_dir():
        return
    for folder in sorted(attempts.iterdir()):
        match = _FOLDER.fullmatch(folder.name)
        if match is None:
            _remove_unfinished(folder)
            continue
        with contextlib.suppress(FileNotFoundError):  # forgotten meanwhile
            yield started(AttemptRef(RunId(match[1]), int(match[2]), int(match[3])), folder)


def started(ref: AttemptRef, folder: Path) -> Started:
    """Return an attempt as its folder tells it."""
    return Started(ref, folder, (folder / "note").read_bytes().decode(), _read_lease(folder))


def _read_lease(folder: Path) -> float:
    until_s, counted_in = (folder / "lease").read_text().split()
    return float(until_s) if counted_in == boot() else 0.0  # that clock began anew


def write_lease(folder: Path, until_s: float) -> None:
    """Replace the lease; the runner looks at it when the one it knows runs out."""
    _write_atomically(folder / "lease", f"{until_s:.3f} {boot()}\n")


def record_of(folder: Path) -> Process:
    """Return the attempt's runner. If none ever took it, see to it that none ever will."""
    record = _read_record(folder)
    if record is not None:
        return record
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        nobody = folder / f"nobody.{os.getpid()}"
        _write_atomically(nobody, f"{NOBODY.pid} - -\n")
        try:
            os.link(nobody, folder / "runner")
        finally:
            nobody.unlink()
    return _read_record(folder) or NOBODY


def _read_record(folder: Path) -> Process | None:
    try:
        pid, start_time, counted_in = (folder / "runner").read_text().split()
    except FileNotFoundError:
        return None
    return Process(int(pid), start_time, counted_in)


def read_end(folder: Path) -> Ended | None:
    """Return how an attempt ended; None if its runner has not said so."""
    try:
        end = json.loads((folder / "end.json").read_bytes())
    except FileNotFoundError:
        return None
    return Ended(end["exit_code"], end["seconds"], end["stopped"], end["error"])


def settle(folder: Path, process: Process) -> Ended:
    """Return how an attempt without a living runner ended, once nothing of it is left."""
    ended = read_end(folder)
    if ended is not None:
        return ended
    _end_leftovers(folder, process)
    if process.pid == 0:
        return Ended(-signal.SIGKILL, 0.0, error="it was never started, and will not be")
    log = end_of(folder / "runner.log")
    why = f"the disk of {folder} is full" if _is_full(folder) else "killed, or the host restarted"
    return Ended(
        -signal.SIGKILL,
        0.0,
        error=f"the runner died before the command ended ({why}); the command is gone too"
        + (f": {log}" if log else ""),
    )


def _end_leftovers(folder: Path, process: Process) -> None:
    """End what a runner that is gone has left of its command."""
    end_leftovers(process, b"WARRENER_OUTPUT=" + os.fsencode(folder / OUTPUT))


def is_lost(folder: Path) -> bool:
    """Tell whether a runner died without a word; then end what is left of its command."""
    record = _read_record(folder)
    if record is None:
        return False  # nothing was begun
    if lives(record) or read_end(folder) is not None:
        return False
    _end_leftovers(folder, record)
    return True


def _is_full(folder: Path) -> bool:
    """Tell whether a runner could not write how its command ended."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _ROOM_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


def tell_to_stop(folder: Path, reason: str) -> None:
    """Leave the reason, and make the runner look."""
    _write_atomically(folder / "stop", reason)
    record = _read_record(folder)
    if record is None:
        return  # a runner looks for `stop` before it starts anything
    with opened(record) as process:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGTERM)


def remove(folder: Path) -> None:
    """Remove an attempt's folder; what is half removed is not found again."""
    gone = folder.with_name(f".old-{folder.name}-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _remove_unfinished(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if folder.name.startswith((".new-", ".old-")) and time.time() - folder.stat().st_mtime > _UNFINISHED_S:
            shutil.rmtree(folder, ignore_errors=True)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_atomically(path: Path, text: str) -> None:
    descriptor, new = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    with open(descriptor, "w") as file:  # noqa: PTH123 - it is a descriptor
        file.write(text)
    Path(new).replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def end_of(log: Path) -> str:
    """Return the last lines of a small log file; empty if there is nothing."""
    try:
        return log.read_bytes()[-500:].decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
