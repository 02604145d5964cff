"""Where a storm rages: the separate programs of a fleet, or the one process of `warrener up`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self

from fleet.process import Process
from fleet.stack import Fleet
from warrener.settings import Settings

_SCRIPTS = str(Path(__file__).parent.parent)

PACE = {
    "WARRENER_SLOTS": "8",
    "WARRENER_LEASE": "6s",
    "WARRENER_ORDER_TIMEOUT": "15s",
    "WARRENER_SHARD_LEASE": "4s",
    "WARRENER_HONOUR_LOAD": "false",  # the storm is the load
}
"""Short times, so that what is lost with a worker is placed anew within the storm."""


class Place(Protocol):
    """A deployment whose programs can be killed; all of it blocks. `settings` are those of a client."""

    settings: Settings
    targets: tuple[str, ...]
    logs: Path

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def kill(self, name: str) -> None:
        """Kill -9 one process alone; runners of jobs live on."""
        ...

    def again(self, name: str) -> None:
        """Start it anew; returns at once."""
        ...


class FleetPlace:
    """One program of each kind, over a private RabbitMQ node and PostgreSQL server."""

    app = (sys.executable, "-m", "storms.app")
    targets: tuple[str, ...] = ("scheduler", "job_submission", "app", "gateway", "data_staging", "env_setup")

    def __init__(self, folder: Path, pace: Mapping[str, str] = PACE) -> None:
        self.logs = folder
        self.fleet = Fleet(folder, settings={**pace, "PYTHONPATH": _SCRIPTS, "WARRENER_STAGE_ROOTS": str(folder)})

    def __enter__(self) -> Self:
        fleet = self.fleet
        fleet.__enter__()
        self.settings = Settings.read(state=fleet.state, broker=fleet.rabbitmq.url, store=fleet.store_url)
        fleet.start("scheduler", "job_submission", "data_staging", "env_setup", "gateway")
        fleet.run("app", self.app)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.fleet.__exit__(*exc_info)

    def kill(self, name: str) -> None:
        self.fleet.kill(name)

    def again(self, name: str) -> None:
        self.fleet.again(name)


class EmbeddedPlace:
    """`warrener up`: everything in one process, over SQLite and the in-process broker."""

    targets: tuple[str, ...] = ("up",)

    def __init__(self, folder: Path, pace: Mapping[str, str] = PACE) -> None:
        self.logs = folder
        self._state = folder / "state"
        self._environment = {**pace, "PYTHONPATH": _SCRIPTS, "WARRENER_STAGE_ROOTS": str(folder)}
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._state.mkdir(parents=True)
        self.settings = Settings.read(state=self._state, broker="memory://", store="")
        self.again("up")
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.stop()

    def kill(self, name: str) -> None:  # noqa: ARG002 - there is only one
        assert self._process is not None
        if self._process.running:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.reap()

    def again(self, name: str) -> None:
        command = [sys.executable, "-m", "warrener_services.cli", "up", "--verbose", "--app", "storms.app"]
        command += ["--state", str(self._state)]
        self._process = Process.start(name, command, log=self.logs / f"{name}.log", env=self._environment)


PLACES: dict[str, Callable[[Path], Place]] = {"fleet": FleetPlace, "embedded": EmbeddedPlace}
