"""Workers as processes of this host.

Each has a number, and three files in the pool's folder: a lock that it holds for as long as it lives, its process id
with its start time, which it writes itself, and its log. So whatever happens to this program, and whenever, its next
life knows who is there: a lock that is free is nobody's, and one that is held is somebody's, whose name no second
process gets.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from warrener.messages import PROGRAMS, Heartbeat
from warrener.worker.leaving import SIGNAL as DRAIN
from warrener_services.elastic.driver import Crew, DriverFailed

_PATIENCE_AFTER_STOP_S = 60.0
_EARLY_S = 30.0
"""Who ends badly within this time was not started well: the next one would not be either."""
_LONGEST_HOST = 24
_LAST_WORDS_BYTES, _LAST_WORDS = 4096, 200
_OF_ONE_LIFE = ("pid", "leaving", "stopped", "killed")
"""The files that a new process of a number begins without; the last three mark what the one before it was told."""
_MAX_LOG_BYTES = 8 * 1024 * 1024
# Its own id and start time first, so that they are right whatever happens to whoever started it.
_WRAPPED = 'printf "%s %s\\n" "$$" "$(cut -d " " -f 22 /proc/$$/stat)" > "$0.new" && mv "$0.new" "$0" && exec "$@"'
_LOCK = re.compile(r"(\d+)\.lock")

log = structlog.get_logger(__name__)


def worker_argv(lanes: Sequence[str]) -> tuple[str, ...]:
    """Return the command of a worker of these kinds."""
    serve = (sys.executable, "-m", "warrener_services.cli", "serve")
    if len(lanes) == 1:
        return (*serve, PROGRAMS[lanes[0]])
    return (*serve, "worker", "--kinds", ",".join(lanes))


@dataclass(frozen=True, slots=True)
class _Known:
    """A process by its id and the time when it started: another one with the same id started at another time."""

    pid: int
    started: str

    @property
    def lives(self) -> bool:
        return _started(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class _Child:
    """A process that this life of the program started."""

    number: int
    started_s: float


class ProcessDriver:
    """The processes of one pool. `environment` is theirs, and each one's name is added to it."""

    def __init__(
        self,
        pool: str,
        argv: Sequence[str],
        folder: Path,
        *,
        host: str,
        environment: Mapping[str, str],
        patience_s: float,
    ) -> None:
        self._pool, self._argv, self._folder, self._host = pool, list(argv), folder, host
        self._environment, self._patience_s = environment, patience_s
        self._children: dict[int, _Child] = {}

    @property
    def exclusive_to(self) -> str:
        return f"{self._pool}.{self._host}"

    async def look(self) -> Crew:
        self._reap()
        try:
            numbers = list(self._numbers())
            leaving = [number for number in numbers if self._path(number, "leaving").exists()]
        except OSError as error:
            raise DriverFailed(f"the folder {self._folder} cannot be used: {error.strerror}") from error
        self._hurry(leaving)
        working = frozenset(self._name(number) for number in numbers if number not in leaving)
        gone = frozenset(self._name(number) for number in leaving)
        return Crew(working, gone, lambda beat: _member(beat, working | gone))

    async def scale(self, count: int, load: Mapping[str, int]) -> None:
        crew = await self.look()
        try:
            for _ in range(count - crew.count):
                self._start(self._free_number())
            numbers = {self._name(number): number for number in self._numbers()}
            idlest = sorted(crew.working, key=lambda name: (load.get(name, 0), -numbers[name]))
            for name in idlest[: max(0, crew.count - count)]:
                self._drain(numbers[name])
        except OSError as error:
            raise DriverFailed(f"{self._argv[0]} cannot be started or stopped: {error.strerror or error}") from error

    # ── one process ──────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, number: int) -> None:
        lock = self._locked(number)
        if lock is None:
            return  # somebody was quicker
        try:
            for kind in _OF_ONE_LIFE:
                self._path(number, kind).unlink(missing_ok=True)
            self._turn_over(self._path(number, "log"))
            wrapped = ["/bin/sh", "-c", _WRAPPED, str(self._path(number, "pid")), *self._argv]
            environment = {**self._environment, "WARRENER_WORKER": self._name(number)}
            os.set_inheritable(lock, True)  # the child holds it from now on, whatever becomes of us
            said = self._path(number, "log")
            pid = os.posix_spawn(
                wrapped[0], wrapped, environment, setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(said), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
            )  # fmt: skip
        finally:
            os.close(lock)
        self._children[pid] = _Child(number, time.monotonic())
        log.info("started a worker", pool=self._pool, worker=self._name(number), pid=pid)

    def _drain(self, number: int) -> None:
        if self._tell(number, "leaving", DRAIN):
            log.info("drains a worker", pool=self._pool, worker=self._name(number))

    def _hurry(self, leaving: Sequence[int]) -> None:
        """Stop who drains for longer than there is patience, and end who does not stop.

        Each is told once: a second signal to stop ends a worker at once.
        """
        for number in leaving:
            with contextlib.suppress(OSError):
                if self._told_s(number, "leaving") > self._patience_s and self._tell(number, "stopped", signal.SIGTERM):
                    log.warning("a worker drains for too long; it is stopped", pool=self._pool,
                                worker=self._name(number))  # fmt: skip
                if self._told_s(number, "stopped") > _PATIENCE_AFTER_STOP_S and self._tell(
                    number, "killed", signal.SIGKILL
                ):
                    log.warning("a worker does not stop; it is killed", pool=self._pool, worker=self._name(number))

    def _tell(self, number: int, mark: str, signal_number: int) -> bool:
        """Send a process a signal, once in its life; return whether it was sent now."""
        known, path = self._known(number), self._path(number, mark)
        if known is None or not known.lives or path.exists():
            return False  # it has not begun yet, or has just ended, or knows
        path.touch(mode=0o600)
        os.kill(known.pid, signal_number)
        return True

    def _told_s(self, number: int, mark: str) -> float:
        """Return how long ago a process was told, by its mark."""
        try:
            return time.time() - self._path(number, mark).stat().st_mtime
        except FileNotFoundError:
            return float("-inf")

    def _reap(self) -> None:
        """Take leave of the children that ended; raises DriverFailed if one ended badly soon after its start."""
        failed = [said for pid in list(self._children) if (said := self._failure(pid)) is not None]
        if failed:
            raise DriverFailed(failed[0])

    def _failure(self, pid: int) -> str | None:
        """Forget a child if it has ended; say so if that was too soon."""
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended, status = pid, 0  # somebody else was told how it ended
        if not ended:
            return None
        child = self._children.pop(pid)
        lived_s, code = time.monotonic() - child.started_s, os.waitstatus_to_exitcode(status)
        if not code or lived_s > _EARLY_S or self._path(child.number, "leaving").exists():
            return None
        log_path = self._path(child.number, "log")
        return (
            f"{self._name(child.number)} ended with {code} {lived_s:.1f} s after its start; see {log_path}:"
            f" {_last_line(log_path)}"
        )

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _numbers(self) -> Iterator[int]:
        """Yield the numbers of those that live."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self._folder.iterdir()):
            match = _LOCK.fullmatch(path.name)
            if match is None:
                continue
            lock = self._locked(int(match[1]))
            if lock is None:
                yield int(match[1])
            else:
                os.close(lock)

    def _free_number(self) -> int:
        taken = set(self._numbers())
        return next(number for number in range(1, len(taken) + 2) if number not in taken)

    def _locked(self, number: int) -> int | None:
        """Return the open lock of a number, now ours; None if a process holds it."""
        lock = os.open(self._path(number, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _known(self, number: int) -> _Known | None:
        try:
            pid, started = self._path(number, "pid").read_text().split()
            return _Known(int(pid), started)
        except (OSError, ValueError):
            return None

    def _turn_over(self, path: Path) -> None:
        """Keep one earlier log beside a new one when it has grown large."""
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > _MAX_LOG_BYTES:
                path.replace(path.with_suffix(".log.1"))

    def _path(self, number: int, kind: str) -> Path:
        return self._folder / f"{number}.{kind}"

    def _name(self, number: int) -> str:
        return f"{self._pool}-{_plain(self._host)}-{number}"


def _plain(host: str) -> str:
    """Return what a worker's name can have of a host's: short, yet another one for another host."""
    plain = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-") or "host"
    if len(plain) <= _LONGEST_HOST:
        return plain
    end = hashlib.sha256(host.encode()).hexdigest()[:6]
    return f"{plain[: _LONGEST_HOST - 1 - len(end)].rstrip('-')}-{end}"


def _member(beat: Heartbeat, names: frozenset[str]) -> str | None:
    """Return the process that a heartbeat comes from; one of several kinds puts the kind before its name."""
    kinds = [beat.task_kind.value, *(f"call-{app}" for app in beat.apps)]
    candidates = [beat.worker, *(beat.worker.removeprefix(f"{kind}-") for kind in kinds)]
    return next((name for name in candidates if name in names), None)


def _last_line(path: Path) -> str:
    """Return the last line of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return next((line.strip()[-_LAST_WORDS:] for line in reversed(lines) if line.strip()), "it is empty")


def _started(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks; None when there is none (or only its remains)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
