"""A private Serf agent on 127.0.0.1."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import quote

from fleet.process import LOOPBACK, FleetError, Place, Process, answers, aside, find_program, free_port

RPC_AUTH = "clover"


def private_serf(
    folder: Path,
    name: str,
    *,
    join: str | None = None,
    rpc_auth: str = RPC_AUTH,
    encrypt_key: str = "",
    profile: str = "lan",
    tags: Mapping[str, str] | None = None,
    coordinates: bool = False,
) -> AbstractAsyncContextManager[SerfAgent]:
    """Run an agent for as long as the context lasts; it then leaves the cluster as planned."""
    return aside(
        SerfAgent(
            folder,
            name,
            join=join,
            rpc_auth=rpc_auth,
            encrypt_key=encrypt_key,
            profile=profile,
            tags=tags,
            coordinates=coordinates,
        )
    )


class SerfAgent:
    """An agent that can be killed, frozen, made to leave, and started again under its name and address.

    `join` is the `address` of another agent; `encrypt_key` is base 64 of 16, 24 or 32 bytes.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        join: str | None = None,
        rpc_auth: str = RPC_AUTH,
        encrypt_key: str = "",
        profile: str = "lan",
        tags: Mapping[str, str] | None = None,
        place: Place = LOOPBACK,
        port: int = 0,
        rpc_port: int = 0,
        coordinates: bool = False,
    ) -> None:
        self.folder = folder
        self.name = name
        self.rpc_auth = rpc_auth
        self.place = place
        self.port = port or free_port()
        self.rpc_port = rpc_port or free_port()
        self._more = {
            "profile": profile,
            "tags": dict(tags or {}),
            "disable_coordinates": not coordinates,
            **({"encrypt_key": encrypt_key} if encrypt_key else {}),
            **({"rpc_auth": rpc_auth} if rpc_auth else {}),
        }
        self._join = [join] if join else []
        self._agent: Process | None = None

    @property
    def address(self) -> str:
        """Where other agents join it."""
        return f"{self.place.address}:{self.port}"

    @property
    def rpc_url(self) -> str:
        key = f"{quote(self.rpc_auth, safe='')}@" if self.rpc_auth else ""
        return f"serf://{key}{self.place.address}:{self.rpc_port}"

    def start(self) -> None:
        serf = find_program("serf", package="serf")
        command = [serf, "agent", f"-config-file={self._write_configuration()}"]
        log = self.folder / f"{self.name}.log"
        self._agent = Process.start(f"Serf agent {self.name}", command, log=log, place=self.place)
        self._agent.wait_until(lambda: answers(self.rpc_port, address=self.place.address), timeout_s=30.0)

    def stop(self) -> None:
        """Leave the cluster as planned, then end."""
        if self._agent is not None:
            self._agent.stop(number=signal.SIGINT)

    def kill(self) -> None:
        """End it as a power cut would: the others see it fail."""
        if self._agent is not None:
            self._agent.kill()

    def pause(self) -> None:
        """Freeze it: the others see it fail, and come back after `unpause`."""
        self._running().send(signal.SIGSTOP)

    def unpause(self) -> None:
        """Let a frozen agent go on."""
        self._running().send(signal.SIGCONT)

    def _running(self) -> Process:
        if self._agent is None:
            raise FleetError(f"the Serf agent {self.name} has not been started")
        return self._agent

    def _write_configuration(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}.json"
        path.touch(mode=0o600)
        path.chmod(0o600)  # the keys are in it, not on the command line
        settings = {
            "node_name": self.name,
            "bind": self.address,
            "rpc_addr": f"{self.place.address}:{self.rpc_port}",
            "log_level": "info",
            # Later, those that it joins may be down themselves, and must not keep it from starting.
            "start_join" if self._agent is None else "retry_join": self._join,
            "retry_interval": "1s",
            **self._more,
        }
        path.write_text(json.dumps(settings, indent=2))
        return path
