"""Private RabbitMQ nodes: no plugins, everything in their folders, their own epmd; one alone, or a cluster.

A release is that of this system, or one in a tree of its own, which `scripts/setup rabbitmq4` makes: its processes
enter the tree by chroot, in a mount namespace where the node's folder is bound to `/srv`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fleet.process import HOST, LOOPBACK, FleetError, Place, Process, answers, aside, find_program, free_port

USER = "warrener"
PASSWORD = "rabbits"  # noqa: S105 - of a throw-away node on the loopback
_PLACES = [Path("/usr/lib/rabbitmq/bin")]  # Debian's own scripts on the path insist on one user and one folder
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_VHOSTS_AT_A_TIME = 8
_IN_TREE = Path("/srv")
_ENTER = """
mount --rbind /dev "$1/dev" && mount --rbind /proc "$1/proc" && mount --bind "$2" "$1/srv" && cd / || exit 1
tree=$1; shift 2; exec chroot "$tree" "$@"
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A RabbitMQ to run; `tree`: a Debian of its own, None: that of this system."""

    name: str
    tree: Path | None = None

    def missing(self) -> str:
        """Say why it cannot be used here; empty if it can."""
        if self.tree is None:
            return ""
        if not (self.tree / ".complete").exists():
            return f"RabbitMQ {self.name} is not there; as root, run: scripts/setup rabbitmq4"
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
            return f"RabbitMQ {self.name} needs root, and mount namespaces, which are not allowed here"
        return ""


INSTALLED = Release("of this system")
RABBITMQ_4 = Release("4.0", Path(__file__).parents[2] / ".warrener/rabbitmq4")


def private_rabbitmq(folder: Path) -> AbstractAsyncContextManager[RabbitMQNode]:
    """Run a node in a folder for as long as the context lasts."""
    return aside(RabbitMQNode(folder))


class RabbitMQNode:
    """A node that can be killed, stopped, started again with the same data, and frozen."""

    def __init__(
        self,
        folder: Path,
        release: Release = INSTALLED,
        *,
        place: Place = LOOPBACK,
        cluster: Cluster | None = None,
    ) -> None:
        self.folder, self.place = folder, place
        self.release = release
        self.port = free_port()
        self.name = f"warrener{self.port}@localhost"
        self._cluster = cluster
        self._home = folder if release.tree is None else _IN_TREE  # as the node sees it
        self._epmd_port = cluster.epmd_port if cluster else free_port()
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
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start it, and return at once."""
        server = self._command("rabbitmq-server")
        self._write_configuration()
        if self._cluster is None and (self._epmd is None or not self._epmd.running):
            self._epmd = start_epmd(self.folder, self._epmd_port, self.place)
        log = self.folder / "rabbitmq.log"
        self._node = Process.start(
            "RabbitMQ", server, log=log, env=self._environment(), cwd=self.folder, place=self.place
        )

    def wait(self) -> None:
        """Wait until it can be used."""
        where = self.place.address
        self._running().wait_until(lambda: answers(self.port, say=_PROTOCOL_HEADER, address=where), timeout_s=90.0)

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
        done = subprocess.run(
            self.place.command(self._command("rabbitmqctl", "-q", *words)),
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

    def add_user(self, url: str, name: str, *, configure: str, write: str, read: str) -> str:
        """Make a user who may do this much in the virtual host of a URL; return the URL with this user."""
        vhost = url.rpartition("/")[2]
        allowed = ", ".join(f'<<"{one}">>'.replace("\\", "\\\\") for one in (configure, write, read))
        self.ctl(
            "eval",
            f'begin rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{PASSWORD}">>, <<"tests">>),'
            f' rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"{vhost}">>, {allowed}, <<"tests">>) end.',
        )
        return url.replace(f"//{USER}:", f"//{name}:")

    def _running(self) -> Process:
        if self._node is None:
            raise FleetError("this RabbitMQ node has not been started")
        return self._node

    def _stop_epmd(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()

    def _command(self, program: str, *words: str) -> list[str]:
        """Return the command that runs one of RabbitMQ's programs, of this release."""
        if self.release.tree is None:
            return [str(find_program(program, package="rabbitmq-server", places=_PLACES)), *words]
        inside = [f"{_PLACES[0]}/{program}", *words]
        return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.release.tree), str(self.folder), *inside]

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
            "vm_memory_high_watermark.absolute = 800MB\n"
            f"{self._cluster.configuration() if self._cluster else ''}"
        )

    def _environment(self) -> dict[str, str]:
        home = self._home
        return {
            "HOME": str(home),  # the Erlang cookie lies here
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.place.address,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1" if self._cluster else "",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": self.place.address,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "logs"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "environment.conf"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(home / "schema"),
        }


def start_epmd(folder: Path, port: int, place: Place = LOOPBACK) -> Process:
    """Start a port mapper in the foreground: the one that Erlang starts by itself outlives its node."""
    epmd = find_program("epmd", package="erlang-base")
    command = [epmd, "-port", str(port), "-address", place.address]
    process = Process.start("epmd", command, log=folder / "epmd.log", place=place)
    process.wait_until(lambda: answers(port, address=place.address))
    return process


class Cluster:
    """Nodes of one cluster, on this machine: `with Cluster(folder, RABBITMQ_4) as cluster`."""

    def __init__(self, folder: Path, release: Release, *, size: int = 3) -> None:
        self.folder = folder
        self.epmd_port = free_port()
        self._epmd: Process | None = None
        self.nodes: Sequence[RabbitMQNode] = [
            RabbitMQNode(folder / f"node{number}", release, cluster=self) for number in range(size)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """All addresses, as WARRENER_BROKER takes them."""
        first, *others = (f"{HOST}:{node.port}" for node in self.nodes)
        return f"amqp://{USER}:{PASSWORD}@{','.join([first, *others])}/"

    def start(self) -> None:
        """Start all nodes; return when they have found one another."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._epmd = start_epmd(self.folder, self.epmd_port)
        try:
            for node in self.nodes:
                self._share_cookie(node)
                node.begin()
            for node in self.nodes:
                node.wait()
            self.wait_until_whole()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all nodes at once: nobody needs their data any more."""
        for node in self.nodes:
            node.kill()
        if self._epmd is not None:
            self._epmd.kill()

    def wait_until_whole(self) -> None:
        """Wait until every node runs and is known to the others."""
        first = self.nodes[0]
        for node in self.nodes:
            node.ctl("await_online_nodes", str(len(self.nodes)), "--timeout", "60")
        first.ctl("await_startup")

    def configuration(self) -> str:
        """Return what each node is told of the others."""
        return "cluster_partition_handling = pause_minority\n" + "".join(
            f"cluster_formation.classic_config.nodes.{number} = {node.name}\n"
            for number, node in enumerate(self.nodes, start=1)
        )

    def _share_cookie(self, node: RabbitMQNode) -> None:
        node.folder.mkdir(parents=True, exist_ok=True)
        cookie = node.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("WARRENERCLUSTER")
            cookie.chmod(0o400)
