"""A child process in a session of its own, with its output in a log file.

Everything here blocks, so that pytest fixtures and scripts can use it alike; `aside` makes an async context
manager of a server. A process ends together with its descendants, found by their parents' ids.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

HOST = "127.0.0.1"
_POLL_S = 0.05


class FleetError(RuntimeError):
    """A private server could not be started; says which, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs: an address of its own, and the words before a command that bring it there."""

    address: str = HOST
    prefix: tuple[str, ...] = ()

    def command(self, words: Sequence[object], user: str | None = None) -> list[str]:
        """Return a command that runs at this place; a change of user comes after the change of place."""
        if not self.prefix:
            return [str(word) for word in words]
        entry = pwd.getpwnam(user) if user else None
        ids = ("-S", str(entry.pw_uid), "-G", str(entry.pw_gid)) if entry else ()
        return [*self.prefix, *ids, "--", *(str(word) for word in words)]


LOOPBACK = Place()


class Server(Protocol):
    """What every private server can do; all of it blocks."""

    def start(self) -> None:
        """Start it, or start it again with the same data and address; return when it can be used."""
        ...

    def stop(self) -> None:
        """End it as its administrator would. Stopping twice does nothing."""
        ...


S = TypeVar("S", bound=Server)


@asynccontextmanager
async def aside(server: S) -> AsyncIterator[S]:
    """Start a server without blocking the loop, and stop it in the end."""
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.stop)


class Process:
    """A running child; made by `start`."""

    def __init__(self, name: str, child: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._child = child

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[object],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        place: Place = LOOPBACK,
    ) -> Self:
        """Start a command; its output is appended to `log`. `env` is added to this process's environment."""
        words = place.command(command, user)
        user = None if place.prefix else user  # that of the prefix is needed to get there
        with log.open("ab") as output:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                start_new_session=True,
            )
        return cls(name, child, log)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Wait until `ready` is true; FleetError, with the end of the log, if it ends or time runs out."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise FleetError(f"{self.name} ended with {self.returncode} while starting; {self._last_words()}")
            if time.monotonic() > deadline:
                raise FleetError(f"{self.name} was not ready within {timeout_s:g} s; {self._last_words()}")
            time.sleep(_POLL_S)

    def reap(self) -> None:
        """Wait for a process that was told to end by other means."""
        self._child.wait()

    def wait(self, timeout_s: float = 60.0) -> None:
        """Wait for a process that ends by itself; FleetError, with the end of its log, if it fails."""
        if self._child.wait(timeout_s):
            raise FleetError(f"{self.name} ended with {self.returncode}; {self._last_words()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its descendants."""
        if self.running:
            for pid in [*descendants(self.pid), self.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def kill(self) -> None:
        """End it at once, as a power cut would, with all its descendants."""
        self.send(signal.SIGSTOP)  # so that no descendant has a child while they are being counted
        self.send(signal.SIGKILL)
        self._child.wait()

    def stop(self, *, number: signal.Signals = signal.SIGTERM, grace_s: float = 15.0) -> None:
        """Ask it to end, and kill it when the grace is over."""
        if not self.running:
            return
        self.send(signal.SIGCONT)
        self._child.send_signal(number)
        try:
            self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-12:] if self.log.exists() else []
        return f"the end of {self.log}:\n" + "\n".join(lines)


def descendants(pid: int) -> list[int]:
    """Return the ids of a process's children, their children, and so on; the deepest first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    fringe = [pid]
    while fringe:
        children = parents.get(fringe.pop(), [])
        found += children
        fringe += children
    return found[::-1]


def find_program(name: str, *, package: str, places: Sequence[Path] = ()) -> Path:
    """Return where a program is; FleetError names the package that brings it."""
    for place in places:
        if (place / name).exists():
            return place / name
    found = shutil.which(name)
    if found is None:
        raise FleetError(f"{name} is not installed; install it with: apt-get install {package}")
    return Path(found)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses, neither TCP nor UDP.

    From below the kernel's ephemeral range: no outgoing connection takes it before the server does.
    """
    chance = random.SystemRandom()
    for _ in range(1000):
        port = chance.randrange(20_000, 32_000)
        if _is_free(port, socket.SOCK_STREAM) and _is_free(port, socket.SOCK_DGRAM):
            return port
    raise FleetError(f"no free port between 20000 and 32000 on {HOST}")


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def answers(port: int, *, say: bytes = b"", address: str = HOST) -> bool:
    """Tell whether a TCP server accepts on this port; with `say`, whether it also answers that."""
    try:
        with socket.create_connection((address, port), timeout=2.0) as connection:
            if not say:
                return True
            connection.sendall(say)
            return bool(connection.recv(1))
    except OSError:
        return False
