"""Where the gateway listens: a Unix socket that only its owner may use, or TCP with a token.

TCP means loopback, unless the settings say that the network is trusted.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warrener.errors import InvalidSettings
from warrener.runtime.sockets import http_address, resolved, tcp_socket, unix_socket

_SETTING = "WARRENER_LISTEN"


@contextmanager
def listening(url: str, *, token: str, trust_network: bool = False) -> Iterator[socket.socket]:
    """Lend a listening socket; raises InvalidSettings with what to do instead."""
    if url.startswith("unix:"):
        path = Path(url.removeprefix("unix:").replace("//", "/"))
        with unix_socket(path, setting=_SETTING, what="gateway") as sock:
            yield sock
        return
    with _tcp(url, token=token, trust_network=trust_network) as sock:
        yield sock


@contextmanager
def _tcp(url: str, *, token: str, trust_network: bool) -> Iterator[socket.socket]:
    http_address(url, setting=_SETTING)
    if not token:
        raise InvalidSettings(
            f"{_SETTING}: {url} needs a token, for others can reach it; set WARRENER_TOKEN, for example to"
            " the output of: openssl rand -hex 32"
        )
    family, address = resolved(url, setting=_SETTING)
    if not trust_network and not ipaddress.ip_address(address[0]).is_loopback:
        raise InvalidSettings(
            f"{_SETTING}: {url} is reachable from outside, and the token would travel in the clear; listen on"
            " http://127.0.0.1:port and let a proxy with TLS stand in front; if what is outside is a network of"
            " containers, say WARRENER_TRUST_NETWORK=true"
        )
    with tcp_socket(url, family, address, setting=_SETTING) as sock:
        yield sock
