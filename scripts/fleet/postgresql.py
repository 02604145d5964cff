"""A private PostgreSQL server with fsync on, in a folder of its own, listening on 127.0.0.1 only."""

from __future__ import annotations

import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fleet.process import LOOPBACK, FleetError, Place, Process, aside, find_program, free_port

USER = "warrener"
PASSWORD = "burrows"  # noqa: S105 - of a throw-away server on the loopback
_PACKAGE = "postgresql"


def private_postgresql(folder: Path) -> AbstractAsyncContextManager[PostgreSQLServer]:
    """Run a server in a folder for as long as the context lasts.

    PostgreSQL refuses to run as root: root gives the folder to the user `postgres` (or `nobody`), who must be
    able to reach it.
    """
    return aside(PostgreSQLServer(folder))


class PostgreSQLServer:
    """A server that can be killed, stopped, and started again with the same data."""

    def __init__(self, folder: Path, place: Place = LOOPBACK) -> None:
        self.folder, self.place = folder, place
        self.port = free_port()
        self._user = _unprivileged_user()
        self._server: Process | None = None
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self.url_of("warrener")

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@{self.place.address}:{self.port}/{database}"

    def start(self) -> None:
        fresh = not self._data.exists()
        if fresh:
            self._make_data()
        command = [
            _program("postgres"), "-D", self._data, "-h", self.place.address, "-p", str(self.port),
            "-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "log_min_messages=warning",
        ]  # fmt: skip
        log = self.folder / "postgresql.log"
        self._server = Process.start("PostgreSQL", command, log=log, cwd=self.folder, user=self._user, place=self.place)
        self._server.wait_until(self._is_ready)
        if fresh:
            self.sql("CREATE DATABASE warrener")

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(number=signal.SIGINT)  # its "fast" way: roll back, write a checkpoint, end

    def kill(self) -> None:
        """End it as a power cut would; `start` recovers from what was on disk."""
        if self._server is not None:
            self._server.kill()

    def restart(self) -> None:
        """Stop it and start it again with the same data; open connections are lost."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and silent."""
        self._running().send(signal.SIGSTOP)

    def unpause(self) -> None:
        """Let a frozen server go on."""
        self._running().send(signal.SIGCONT)

    def create_database(self, name: str = "") -> str:
        """Make an empty database (within about 0.1 s) and return its URL; without a name, a new one."""
        name = name or f"warrener_{next(self._numbers)}"
        self.sql(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, and whatever still uses it."""
        self.sql(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the owner of the server and return what it prints."""
        flags = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [str(_program("psql")), *flags, "-c", statement, self.url_of(database)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise FleetError(f"psql failed on {statement!r}: {done.stderr.strip()}")
        return done.stdout

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _running(self) -> Process:
        if self._server is None:
            raise FleetError("this PostgreSQL server has not been started")
        return self._server

    def _is_ready(self) -> bool:
        command = [str(_program("pg_isready")), "-q", "-h", self.place.address, "-p", str(self.port), "-d", "postgres"]
        return subprocess.run(command, check=False, timeout=10).returncode == 0

    def _make_data(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.folder / "password"
        password.write_text(PASSWORD + "\n")
        if self._user is not None:
            shutil.chown(self.folder, self._user)
            shutil.chown(password, self._user)
        command = [
            _program("initdb"), "-D", self._data, "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        maker = Process.start("initdb", command, log=self.folder / "initdb.log", cwd=self.folder, user=self._user)
        maker.wait_until(lambda: not maker.running)
        if maker.returncode != 0:
            text = maker.log.read_text(errors="replace").strip()
            raise FleetError(f"initdb failed in {self.folder} (can {self._user} reach that folder?): {text}")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")  # those on other hosts, if it has a place with hosts


def _program(name: str) -> Path:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return find_program(name, package=_PACKAGE, places=versions)


def _version(folder: Path) -> int:
    number = re.match(r"\d+", folder.parent.name)
    return int(number.group()) if number else 0


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
