"""Warrener's own programs as separate processes, on private servers: a whole fleet on one machine.

with Fleet(folder, database="postgresql") as fleet:
    fleet.start("scheduler", "job_submission")
    fleet.kill("scheduler")          # as a power cut would: kill -9
    fleet.start("scheduler")
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self

from fleet.postgresql import PostgreSQLServer
from fleet.process import Process
from fleet.rabbitmq import RabbitMQNode
from fleet.serf import SerfAgent
from warrener.signing import make_keys

SERVICES = ("scheduler", "env_setup", "data_staging", "job_submission", "gossip", "gateway")
WORKERS = ("env_setup", "data_staging", "job_submission")


class Fleet:
    """Private servers and the programs on them, below one folder.

    `with_serf` gives every worker program an agent beside it. `settings` are added to every program's environment; with
    WARRENER_BROKER among them, there is no RabbitMQ of its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: Literal["postgresql", "sqlite"] = "postgresql",
        with_serf: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self._database, self._with_serf = database, with_serf
        self._settings = dict(settings or {})
        self._programs: dict[str, Process] = {}
        self._commands: dict[str, Sequence[str]] = {}
        self._agents: dict[str, SerfAgent] = {}
        self._servers = ExitStack()
        self.rabbitmq = RabbitMQNode(folder / "rabbitmq")
        self.postgresql = PostgreSQLServer(folder / "postgresql") if database == "postgresql" else None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # PostgreSQL's own user must be able to reach its folder
        self.state.mkdir(exist_ok=True)
        with ExitStack() as starting:
            if "WARRENER_BROKER" not in self._settings:
                starting.callback(self.rabbitmq.stop)
                self.rabbitmq.start()
            if self.postgresql:
                starting.callback(self.postgresql.stop)
                self.postgresql.start()
            if self._with_serf:
                starting.callback(self._stop_agents)
                self._start_agents()
            make_keys(self.state / "keys")
            self._servers = starting.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            for name in reversed(list(self._programs)):
                self._programs[name].stop()
        finally:
            self._servers.close()

    @property
    def store_url(self) -> str:
        return self.postgresql.url if self.postgresql else f"sqlite:///{self.state / 'warrener.db'}"

    @property
    def settings(self) -> dict[str, str]:
        """What a client or a program of this fleet needs in its environment."""
        return {
            "WARRENER_STATE": str(self.state),
            "WARRENER_BROKER": self.rabbitmq.url,
            "WARRENER_STORE": self.store_url,
            "WARRENER_HONOUR_LOAD": os.environ.get("WARRENER_HONOUR_LOAD", "false"),  # they share a machine with it all
            **self._settings,
        }

    def start(self, *names: str) -> None:
        """Start programs, `SERVICE` or `SERVICE@NUMBER` for another of the same kind; returns at once."""
        for name in names or SERVICES:
            service = name.partition("@")[0]
            self.run(name, [sys.executable, "-m", f"warrener_services.{service}"])

    def run(self, name: str, command: Sequence[str], **settings: str) -> None:
        """Start any command as a program of the fleet, under a name."""
        self._commands[name] = command
        worker = name.replace("_", "-").replace("@", "-")
        own = {"WARRENER_WORKER": worker, "WARRENER_GOSSIP": self._gossip_of(name), **settings}
        log = self.folder / f"{name}.log"
        self._programs[name] = Process.start(name, command, log=log, env={**self.settings, **own})

    def command(self, name: str) -> Sequence[str]:
        """Return what a program was started with."""
        return self._commands[name]

    def again(self, name: str) -> None:
        """Start a program anew that ended or was killed, by the same command, with the settings of the fleet alone."""
        self.run(name, self._commands[name])

    def kill(self, name: str) -> None:
        """Kill -9 one program alone: what it started (runners of jobs) lives on, as it would."""
        program = self._programs[name]
        if program.running:
            os.kill(program.pid, signal.SIGKILL)
            program.reap()

    def stop(self, name: str) -> None:
        self._programs[name].stop()

    def running(self, name: str) -> bool:
        return self._programs[name].running

    def wait_until(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait for what a program brings about; FleetError, with the end of its log, if it ends instead."""
        self._programs[name].wait_until(ready)

    def returncode(self, name: str) -> int | None:
        """Return how a program ended; None while it runs."""
        return self._programs[name].returncode

    def pid(self, name: str) -> int:
        return self._programs[name].pid

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _gossip_of(self, name: str) -> str:
        agent = self._agents.get(name) or self._agents.get("gossip")
        return agent.rpc_url if agent else "static://"

    def _start_agents(self) -> None:
        first: SerfAgent | None = None
        for name in ("gossip", *WORKERS):
            agent = SerfAgent(
                self.folder / f"serf-{name}", f"{name.replace('_', '-')}-host", join=first.address if first else None
            )
            agent.start()
            self._agents[name] = agent
            first = first or agent

    def _stop_agents(self) -> None:
        for agent in self._agents.values():
            agent.stop()
