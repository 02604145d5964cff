"""The container engine, through its commands: which Compose there is, and how the containers of a stack are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
_COMPOSES = (["docker", "compose"], ["docker-compose"])
_ANSWER_S = 60.0


class StackError(Exception):
    """Something about the stack failed; says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the stack; `health` is empty without a check.

    `networks` are those that it is connected to, each with the names that others find it by there.
    """

    id: str
    service: str
    state: str
    health: str
    networks: Mapping[str, tuple[str, ...]]

    @property
    def well(self) -> bool:
        return self.state == "running" and self.health in ("healthy", "")


class Engine:
    """The commands, for one stack: the project of a name, described by files."""

    def __init__(self, compose: Sequence[str], project: str, files: Sequence[Path]) -> None:
        self.project = project
        self.compose_name = " ".join(compose)
        named = [word for file in files for word in ("-f", str(file))]
        self._compose = [*compose, "-p", project, *named]

    @classmethod
    def found(cls, *more_files: Path) -> Self:
        """Find Compose and an engine that answers; raises StackError. STACK_COMPOSE chooses a Compose."""
        compose = _compose()
        version = _ran(["docker", "version", "--format", "{{.Server.Version}}"])
        if version is None:
            where = os.environ.get("DOCKER_HOST", "its usual socket")
            raise StackError(
                f"no Docker engine answers at {where}: start it (on Debian: apt-get install docker.io, then as root"
                " service docker start), or set DOCKER_HOST"
            )
        project = os.environ.get("COMPOSE_PROJECT_NAME") or _project_of(ROOT)
        return cls(compose, project, [ROOT / "docker-compose.yml", *more_files])

    def compose(self, *words: str) -> int:
        """Run Compose for people to see; return its exit code."""
        return subprocess.run([*self._compose, *words], cwd=ROOT, check=False).returncode

    def composed(self, *words: str) -> list[str]:
        """Return the whole command, to be run otherwise."""
        return [*self._compose, *words]

    def docker(self, *words: str) -> str:
        """Run docker, and return what it prints; raises StackError."""
        try:
            done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=_ANSWER_S)
        except subprocess.TimeoutExpired as error:
            raise StackError(f"docker {' '.join(words)}: no answer within {_ANSWER_S:.0f} s") from error
        if done.returncode:
            raise StackError(f"docker {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def containers(self) -> dict[str, Container]:
        """Return the containers of the stack by service; those that ran a single command are left out."""
        label = f"label=com.docker.compose.project={self.project}"
        ids = self.docker("ps", "-aq", "--filter", label).split()
        if not ids:
            return {}
        found = [_container(told) for told in json.loads(self.docker("inspect", *ids)) if not _single(told)]
        return {container.service: container for container in found}

    def services(self) -> list[str]:
        """Return the services that belong to the stack, without those of a profile."""
        done = subprocess.run(
            self.composed("config", "--services"), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StackError(f"{self.compose_name} does not accept docker-compose.yml: {done.stderr.strip()}")
        return [name for name in done.stdout.split() if name != "orchestrator"]

    def wait_until_well(self, within_s: float, say: Callable[[str], None]) -> None:
        """Wait until every service has a container that is well; raises StackError with those that are not."""
        wanted, give_up = set(self.services()), time.monotonic() + within_s
        while unwell := self._unwell(wanted):
            if time.monotonic() > give_up:
                first = min(unwell).split(" ")[0]
                raise StackError(
                    f"not well after {within_s:.0f} s: {', '.join(sorted(unwell))}; see `scripts/stack logs {first}`"
                )
            say(f"waiting for {len(unwell)} of {len(wanted)}: {', '.join(sorted(unwell))}")
            time.sleep(1.0)

    def _unwell(self, wanted: set[str]) -> list[str]:
        there = self.containers()
        missing = [f"{name} (no container)" for name in wanted - there.keys()]
        return missing + [
            f"{name} ({one.health or one.state})" for name, one in there.items() if name in wanted and not one.well
        ]


def _compose() -> Sequence[str]:
    wanted = os.environ.get("STACK_COMPOSE")
    for command in [wanted.split()] if wanted else _COMPOSES:
        if _ran([*command, "version"]) is not None:
            return command
    raise StackError(
        "there is no Compose: install docker compose v2 (the plugin of Docker) or docker-compose 1.29"
        if not wanted
        else f"STACK_COMPOSE={wanted} does not run"
    )


def _ran(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ANSWER_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _project_of(folder: Path) -> str:
    """Return the name that Compose itself would take."""
    return re.sub(r"[^-_a-z0-9]", "", folder.name.lower()).lstrip("-_") or "warrener"


def _container(told: dict[str, Any]) -> Container:
    state = told["State"]
    return Container(
        id=told["Id"],
        service=told["Config"]["Labels"]["com.docker.compose.service"],
        state=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        networks={
            name: tuple(alias for alias in network["Aliases"] or () if not told["Id"].startswith(alias))
            for name, network in told["NetworkSettings"]["Networks"].items()
        },
    )


def _single(told: dict[str, Any]) -> bool:
    return str(told["Config"]["Labels"].get("com.docker.compose.oneoff", "")).lower() == "true"
