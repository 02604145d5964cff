"""What is broken on purpose: a whole fleet, every part of it on a host that can lose its power or its network.

    servers      RabbitMQ, PostgreSQL
    desk-1, …    a scheduler each; the first also has the gateway and gossip
    meadow-1, …  a worker of jobs and a worker of calls each
    and on every desk and meadow a Serf agent

The driver is on their network too, so it reaches everything that it must observe; the gateway by its Unix socket.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from fleet.hosts import Host, Hosts
from fleet.postgresql import PostgreSQLServer
from fleet.process import Process
from fleet.rabbitmq import RabbitMQNode
from fleet.serf import SerfAgent
from warrener.settings import Settings
from warrener.signing import make_keys

from .mailbox import PORT

_SCRIPTS = str(Path(__file__).parent.parent)

SERF_PORT, SERF_RPC_PORT = 7946, 7373

QUICK = {
    "WARRENER_LEASE": "6s",
    "WARRENER_ORDER_TIMEOUT": "15s",
    "WARRENER_SHARD_LEASE": "4s",
}
"""Short times, so that what is lost is placed anew while a campaign looks."""

_MAILS = {
    "WARRENER_MAIL_SERVERS": f"plain://127.0.0.1:{PORT}",
    "WARRENER_MAIL_TO": "admin@burrow.example",
    "WARRENER_ALERT_WINDOW": "2s",  # many hosts are lost at once, and each of their mails is waited for
}
_ASIDE = ("gossip", "mailbox")
_AS_IT_IS = ("gateway", "mailbox")
"""What gets no surroundings of its own: under libfaketime the gateway answers nobody."""


def _calm() -> dict[str, str]:
    """Return what keeps workers from yielding to a load that is not theirs: all hosts share that of the machine."""
    return {"WARRENER_HONOUR_LOAD": "false"} if "honour_load" in Settings.model_fields else {}


class Deployment:
    """The fleet, its hosts, and what can be done to them; all of it blocks."""

    def __init__(
        self,
        folder: Path,
        *,
        meadows: int,
        desks: int = 2,
        slots: int = 4,
        serf: bool = True,
        settings: Mapping[str, str] | None = None,
        surroundings: Callable[[Path, str], Mapping[str, str]] = lambda _folder, _host: {},
    ) -> None:
        """`surroundings` are more variables for the programs of a host, by this folder and the host's name."""
        self.folder = folder
        self._surroundings = surroundings
        self.history = folder / "history.jsonl"
        self.keys = folder / "keys"
        self.socket = folder / "gateway.sock"
        self._counts, self._slots, self._serf = (desks, meadows), slots, serf
        self._more = _calm() | dict(settings or {})
        self._exit = ExitStack()
        self.programs: dict[str, Process] = {}
        self._commands: dict[str, tuple[Host, list[str], dict[str, str]]] = {}
        self.agents: dict[str, SerfAgent] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # PostgreSQL's own user must be able to reach its folder
        make_keys(self.keys)
        with ExitStack() as starting:
            self.hosts = starting.enter_context(Hosts())
            desks, meadows = self._counts
            self.servers = self.hosts.add("servers")
            self.desks = [self.hosts.add(f"desk-{n + 1}") for n in range(desks)]
            self.meadows = [self.hosts.add(f"meadow-{n + 1}") for n in range(meadows)]
            self.rabbitmq = RabbitMQNode(self.folder / "rabbitmq", place=self.servers.place)
            self.postgresql = PostgreSQLServer(self.folder / "postgresql", self.servers.place)
            self.postgresql.start()
            self.rabbitmq.start()
            self._start_agents()
            self._start_programs()
            self._exit = starting.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    @property
    def settings(self) -> Settings:
        """Those of a client."""
        return Settings.read(
            state=self.folder, keys=self.keys, listen=f"unix:{self.socket}", broker=self.rabbitmq.url,
            store=self.postgresql.url,
        )  # fmt: skip

    def _start_agents(self) -> None:
        if not self._serf:
            return
        first: SerfAgent | None = None
        for host in (*self.desks, *self.meadows):
            agent = SerfAgent(
                self.folder / f"serf-{host.name}", host.name, join=first.address if first else None, place=host.place,
                port=SERF_PORT, rpc_port=SERF_RPC_PORT,
            )  # fmt: skip
            agent.start()
            self.agents[host.name] = agent
            first = first or agent

    def _start_programs(self) -> None:
        for desk in self.desks:
            self.start(f"scheduler-{desk.name}", desk, "-m", "warrener_services.scheduler")
        self.start("gateway", self.desks[0], "-m", "warrener_services.gateway")
        if self._serf:
            self.start("mailbox", self.desks[0], "-m", "campaigns.mailbox", str(self.history))
            self.start("gossip", self.desks[0], "-m", "warrener_services.gossip", **_MAILS)
        for meadow in self.meadows:
            self.start(f"job-{meadow.name}", meadow, "-m", "warrener_services.job_submission")
            self.start(f"call-{meadow.name}", meadow, "-m", "campaigns.app")

    # ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, name: str, host: Host, *words: str, **settings: str) -> None:
        """Start a Python program on a host, under a name; returns at once."""
        own = {
            "PYTHONPATH": _SCRIPTS,
            "WARRENER_STATE": str(self.state_of(host)),
            "WARRENER_KEYS": str(self.keys),
            "WARRENER_LISTEN": f"unix:{self.socket}",
            "WARRENER_BROKER": self.rabbitmq.url,
            "WARRENER_STORE": self.postgresql.url,
            "WARRENER_GOSSIP": self.agents[host.name].rpc_url if host.name in self.agents else "static://",
            "WARRENER_WORKER": name,
            "WARRENER_HOST": host.name,
            "WARRENER_SLOTS": str(self._slots),
            **self._more,
            **(self._surroundings(self.folder, host.name) if name not in _AS_IT_IS else {}),
            **settings,
        }
        self._commands[name] = (host, [sys.executable, *words], own)
        self.again(name)

    def again(self, name: str) -> None:
        """Start a program as it was started before, if it does not run."""
        if name in self.programs and self.programs[name].running:
            return
        host, command, env = self._commands[name]
        log = self.folder / f"{name}.log"
        self.programs[name] = Process.start(name, command, log=log, env=env, place=host.place)

    def kill(self, name: str) -> None:
        """Kill -9 one program alone: what it started (runners of jobs) lives on, as it would."""
        program = self.programs[name]
        if program.running:
            os.kill(program.pid, signal.SIGKILL)
            program.reap()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one program alone."""
        with suppress(ProcessLookupError):
            os.kill(self.programs[name].pid, number)

    def state_of(self, host: Host) -> Path:
        """Return the folder of what a host's programs keep."""
        return self.folder / "hosts" / host.name

    def host_of(self, name: str) -> Host:
        return self._commands[name][0]

    def programs_on(self, host: Host) -> list[str]:
        """Return all programs that belong to a host, whether they run or not."""
        return [name for name, (where, _, _) in self._commands.items() if where is host]

    def services_on(self, host: Host) -> list[str]:
        """Return those that work goes through."""
        return [name for name in self.programs_on(host) if name not in _ASIDE]

    @property
    def services(self) -> list[str]:
        return [name for name in self.programs if name not in _ASIDE]

    # ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def power_off(self, host: Host) -> None:
        """End a host as a power cut does: its connections do not say goodbye."""
        host.cut()
        host.power_off()
        for name in self.programs_on(host):
            self.programs[name].reap()

    def power_on(self, host: Host) -> None:
        """Start a host anew, with everything that was on it."""
        host.heal()
        if host.name in self.agents:
            self.agents[host.name].start()
        for name in self.programs_on(host):
            self.again(name)

    def leftovers(self, runs: Iterable[str] = ()) -> list[str]:
        """Return the processes that belong to jobs (of these runs, or of any) and still run."""
        wanted, found = {f"WARRENER_RUN={run}".encode() for run in runs}, []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                words = (entry / "environ").read_bytes().split(b"\0")
                mine = [word for word in words if word.startswith(b"WARRENER_RUN=")]
                if mine and (not wanted or wanted & set(mine)):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"{entry.name} {mine[0].decode()} {command:.80}")
        return found
