"""Where the gateway listens: a Unix socket that only its owner may use, or TCP with a token.

TCP means loopback, unless the settings say that the network is trusted.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from warrener.errors import InvalidSettings

_FORMS = "give unix:/path/to/socket or http://127.0.0.1:port"
_BACKLOG = 128
_MAX_PATH_BYTES = 107
"""What `sockaddr_un` takes on Linux."""


@contextmanager
def listening(url: str, *, token: str, trust_network: bool = False) -> Iterator[socket.socket]:
    """Lend a listening socket; raises InvalidSettings with what to do instead."""
    if url.startswith("unix:"):
        with _unix(Path(url.removeprefix("unix:").replace("//", "/"))) as sock:
            yield sock
        return
    with _tcp(url, token=token, trust_network=trust_network) as sock:
        yield sock


@contextmanager
def _unix(path: Path) -> Iterator[socket.socket]:
    if not path.is_absolute():
        raise InvalidSettings(f"WARRENER_LISTEN: unix:{path} is no absolute path; {_FORMS}")
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise InvalidSettings(
            f"WARRENER_LISTEN: the path of the socket {path} is longer than {_MAX_PATH_BYTES} bytes, which no"
            " system takes; choose a shorter WARRENER_STATE or WARRENER_LISTEN"
        )
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        inode = _bind_private(sock, path)
        try:
            sock.listen(_BACKLOG)
            yield sock
        finally:
            _remove(path, inode)
    finally:
        sock.close()


def _clear(path: Path) -> None:
    """Remove the socket that a dead gateway left; raises InvalidSettings if something else is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidSettings(f"WARRENER_LISTEN: cannot make {path.parent}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise InvalidSettings(f"WARRENER_LISTEN: {path} is there and is no socket; move it away or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise InvalidSettings(f"WARRENER_LISTEN: cannot tell whether {path} is in use: {error}") from error
    raise InvalidSettings(
        f"another gateway already listens on {path}; stop it, or choose another WARRENER_STATE or WARRENER_LISTEN"
    )


def _bind_private(sock: socket.socket, path: Path) -> int:
    before = os.umask(0o177)  # the file must never be open to others, not even for a moment
    try:
        sock.bind(str(path))
    except OSError as error:
        raise InvalidSettings(f"WARRENER_LISTEN: cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    return path.lstat().st_ino


def _remove(path: Path, inode: int) -> None:
    """Remove our socket, not that of a gateway which came after us."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass


@contextmanager
def _tcp(url: str, *, token: str, trust_network: bool) -> Iterator[socket.socket]:
    host, port = _address(url)
    if not token:
        raise InvalidSettings(
            f"WARRENER_LISTEN: {url} needs a token, for others can reach it; set WARRENER_TOKEN, for example to"
            " the output of: openssl rand -hex 32"
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InvalidSettings(f"WARRENER_LISTEN: there is no address for {host}: {error.strerror}") from error
    if not trust_network and not ipaddress.ip_address(address[0]).is_loopback:
        raise InvalidSettings(
            f"WARRENER_LISTEN: {url} is reachable from outside, and the token would travel in the clear; listen on"
            " http://127.0.0.1:port and let a proxy with TLS stand in front; if what is outside is a network of"
            " containers, say WARRENER_TRUST_NETWORK=true"
        )
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:
            taken = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise InvalidSettings(f"WARRENER_LISTEN: cannot listen on {url}: {taken}") from error
        sock.listen(_BACKLOG)
        yield sock


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidSettings(f"WARRENER_LISTEN: {url!r} is no address to listen on: {error}; {_FORMS}") from error
    if parts.scheme == "https":
        raise InvalidSettings(
            f"WARRENER_LISTEN: the gateway speaks no TLS itself; let a proxy stand in front, and {_FORMS}"
        )
    if parts.scheme != "http" or not parts.hostname or port is None or parts.path not in ("", "/"):
        raise InvalidSettings(f"WARRENER_LISTEN: {url!r} is no address to listen on; {_FORMS}")
    return parts.hostname, port
