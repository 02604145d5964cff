"""A private RabbitMQ node: one node, no plugins, everything in its folder, its own epmd."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fleet.process import LOOPBACK, FleetError, Place, Process, answers, aside, find_program, free_port

USER = "warrener"
PASSWORD = "rabbits"  # noqa: S105 - of a throw-away node on the loopback
_PLACES = [Path("/usr/lib/rabbitmq/bin")]  # Debian's own scripts on the path insist on one user and one folder
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_VHOSTS_AT_A_TIME = 8


def private_rabbitmq(folder: Path) -> AbstractAsyncContextManager[RabbitMQNode]:
    """Run a node in a folder for as long as the context lasts."""
    return aside(RabbitMQNode(folder))


class RabbitMQNode:
    """A node that can be killed, stopped, started again with the same data, and frozen."""

    def __init__(self, folder: Path, place: Place = LOOPBACK) -> None:
        self.folder, self.place = folder, place
        self.port = free_port()
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._node: Process | None = None
        self._epmd: Process | None = None
        self._vhosts_made = 0
        self._vhosts_left: list[str] = []

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{PASSWORD}@{self.place.address}:{self.port}/"

    @property
    def pid(self) -> int:
        """The wrapper that was started; the server is its child."""
        return self._running().pid

    def start(self) -> None:
        server = find_program("rabbitmq-server", package="rabbitmq-server", places=_PLACES)
        epmd = find_program("epmd", package="erlang-base")
        self._write_configuration()
        if self._epmd is None or not self._epmd.running:
            # Started by us in the foreground: the one that Erlang starts by itself outlives its node.
            command = [epmd, "-port", str(self._epmd_port), "-address", self.place.address]
            self._epmd = Process.start("epmd", command, log=self.folder / "epmd.log", place=self.place)
            self._epmd.wait_until(lambda: answers(self._epmd_port, address=self.place.address))
        log = self.folder / "rabbitmq.log"
        self._node = Process.start(
            "RabbitMQ", [server], log=log, env=self._environment(), cwd=self.folder, place=self.place
        )
        where = self.place.address
        self._node.wait_until(lambda: answers(self.port, say=_PROTOCOL_HEADER, address=where), timeout_s=90.0)

    def stop(self) -> None:
        if self._node is not None and self._node.running:
            # Straight to the Erlang machine, which then closes in order: its shell wrapper would only wait.
            self._node.send(signal.SIGCONT)
            self._node.send(signal.SIGTERM)
            self._node.stop(grace_s=20.0)
        self._stop_epmd()

    def kill(self) -> None:
        """End it as a power cut would; `start` brings it back with what was on disk."""
        if self._node is not None:
            self._node.kill()
        self._stop_epmd()

    def pause(self) -> None:
        """Freeze it: connections stay open and silent."""
        self._running().send(signal.SIGSTOP)

    def unpause(self) -> None:
        """Let a frozen node go on."""
        self._running().send(signal.SIGCONT)

    def ctl(self, *words: str) -> str:
        """Run rabbitmqctl on this node (takes about a second) and return what it prints."""
        program = find_program("rabbitmqctl", package="rabbitmq-server", places=_PLACES)
        done = subprocess.run(
            self.place.command([program, "-q", *words]),
            env={**os.environ, **self._environment()},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise FleetError(f"rabbitmqctl {' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def fresh_vhost(self) -> str:
        """Return the URL of an empty virtual host; they are made several at a time: rabbitmqctl is slow."""
        if not self._vhosts_left:
            first = self._vhosts_made
            self._vhosts_made += _VHOSTS_AT_A_TIME
            names = [f"t{number}" for number in range(first, self._vhosts_made)]
            listed = ",".join(f'<<"{name}">>' for name in names)
            self.ctl(
                "eval",
                f'[begin rabbit_vhost:add(V, <<"tests">>), rabbit_auth_backend_internal:set_permissions('
                f'<<"{USER}">>, V, <<".*">>, <<".*">>, <<".*">>, <<"tests">>) end || V <- [{listed}]].',
            )
            self._vhosts_left = names[::-1]
        return self.url + self._vhosts_left.pop()

    def _running(self) -> Process:
        if self._node is None:
            raise FleetError("this RabbitMQ node has not been started")
        return self._node

    def _stop_epmd(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()

    def _write_configuration(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {self.place.address}:{self.port}\n"
            f"default_user = {USER}\n"
            f"default_pass = {PASSWORD}\n"
            "log.console = true\n"
            "log.console.level = info\n"
            "log.file = false\n"
        )

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),  # the Erlang cookie lies here
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.place.address,
            "RABBITMQ_NODENAME": f"warrener{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": self.place.address,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment.conf"),
        }
