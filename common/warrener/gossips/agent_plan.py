"""What a Serf agent is told: where it gossips, whom it joins, with which key.

Source: the options of `serf agent`, https://github.com/hashicorp/serf/blob/master/docs/agent/options.html.markdown
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warrener.errors import InvalidSettings
from warrener.settings import Settings
from warrener.signing import read_gossip_key
from warrener.tags import ASKS, SITE

PORT = 7946
"""Serf's own; TCP and UDP."""

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to gossip; `host` is an IP address as text."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """What an agent is told. `key` encrypts gossip; `host` begins the member's name."""

    bind: Address
    host: str
    folder: Path
    key: bytes
    seeds: Sequence[str] = ()
    advertise: Address | None = None
    profile: str = "lan"
    tags: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"AgentPlan({self.bind}, {self.host!r})"


async def plan_of(settings: Settings) -> AgentPlan:
    """Make the plan of an agent; raises InvalidSettings, naming the variable."""
    if settings.gossip != Settings.model_fields["gossip"].default:
        raise InvalidSettings(
            f"WARRENER_{'AGENT' if settings.agent else 'JOIN'} and WARRENER_GOSSIP are both set: the first runs an"
            " agent within this program, the second uses one beside it; unset one of them"
        )
    return AgentPlan(
        bind=await _address("WARRENER_AGENT", settings.agent or f"0.0.0.0:{PORT}"),
        host=settings.host,
        folder=settings.agent_folder,
        key=read_gossip_key(settings.gossip_key_file),
        seeds=[seed_of(text) for text in (settings.join, *settings.seeds) if text],
        advertise=await _address("WARRENER_AGENT_ADVERTISE", settings.agent_advertise)
        if settings.agent_advertise
        else None,
        profile=settings.agent_profile,
        tags={SITE: settings.site},
    )


async def plan_to_ask(settings: Settings, member: str, folder: Path) -> AgentPlan:
    """Make the plan of an agent that lives only to ask the pool of a member; raises InvalidSettings."""
    seed = await _address("HOST:PORT", member)
    own = LOOPBACK if ipaddress.ip_address(seed.host).is_loopback else "0.0.0.0"  # noqa: S104 - UDP answers come here
    return AgentPlan(
        bind=Address(own, free_port()),
        host=f"find-{settings.host}",
        folder=folder,
        key=read_gossip_key(settings.gossip_key_file),
        seeds=[str(seed)],
        profile=settings.agent_profile,
        tags={ASKS: "1"},
    )


def seed_of(text: str) -> str:
    """Read `host[:port]`; the host is looked up whenever it is joined. Raises InvalidSettings."""
    host, port = _parts("WARRENER_SEEDS", text)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parts(variable: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon or (":" in host and not host.startswith("[")):  # the latter: an IPv6 address without a port
        host, port = text, str(PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:  # noqa: PLR2004 - what a port is
        raise InvalidSettings(f"{variable}: {text!r} is no address; give host:port, or a host alone for port {PORT}")
    return host, int(port)


async def _address(variable: str, text: str) -> Address:
    host, port = _parts(variable, text)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidSettings(f"{variable}: there is no address for {host}: {error.strerror}") from error
    return Address(str(found[0][4][0]), port)


def configuration(plan: AgentPlan, name: str, *, rpc_port: int, rpc_auth: str, snapshot: Path) -> Mapping[str, Any]:
    """Write an agent's configuration, as its file has it."""
    return {
        "node_name": name,
        "bind": str(plan.bind),
        **({"advertise": str(plan.advertise)} if plan.advertise else {}),
        "profile": plan.profile,
        "tags": dict(plan.tags),
        "encrypt_key": base64.b64encode(plan.key).decode(),
        "rpc_addr": f"{LOOPBACK}:{rpc_port}",
        "rpc_auth": rpc_auth,
        "retry_join": list(plan.seeds),
        "retry_interval": "5s",
        "snapshot_path": str(snapshot),
        "rejoin_after_leave": True,
        "leave_on_terminate": True,
        "reconnect_timeout": "72h",
        "tombstone_timeout": "24h",
        "disable_coordinates": False,
        "event_handlers": [],
        "log_level": "info",
    }


def free_port() -> int:
    """Return a port of loopback that nobody listens on now; who loses it meanwhile is started again with another."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
