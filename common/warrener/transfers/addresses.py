"""Which addresses staging may connect to.

A URL comes from whoever may submit; the worker stands inside the network. So a name is resolved once, every
address it has is checked, and the connection goes to a checked address: a name that changes its answer gains
nothing (server-side request forgery, DNS rebinding). What is not the public internet is refused, unless the
settings name the host. The ranges are IANA's special-purpose registries (RFC 6890 and its successors),
written out because Python's `is_global` has changed between releases.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from warrener.errors import Cause, TaskFailed

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host for a port."""

_CLOSED_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata service of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_OPEN_6 = IPv6Network("2000::/3")  # all that is given out of global unicast so far
_CLOSED_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: carries any IPv4 address
        "3fff::/20",
    )
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, in its order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked(host: str, port: int, allowed: frozenset[str], ask: Resolve = resolve) -> Sequence[str]:
    """Return the addresses to connect to, best first; raises TaskFailed.

    `allowed` holds hosts as `host` or `host:port` (an IPv6 address in brackets) that may be private.
    """
    try:
        addresses = await ask(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TaskFailed(Cause.STAGE, f"the host {host} cannot be found: {reason}") from error
    shown = f"[{host}]" if ":" in host else host
    if shown.lower() in allowed or f"{shown.lower()}:{port}" in allowed:
        return addresses
    for address in addresses:
        if not is_public(ip_address(address.partition("%")[0])):
            raise TaskFailed(
                Cause.REFUSED,
                f"{shown}:{port} has the address {address}, which is not public, and staging connects to no"
                " other: an operator can allow this host in WARRENER_STAGE_HOSTS",
            )
    return addresses
