"""Listening sockets: a Unix socket that only its owner may use, or TCP; what is wrong is told with its setting."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from warrener.errors import InvalidSettings

_BACKLOG = 128
MAX_PATH_BYTES = 107
"""What `sockaddr_un` takes on Linux."""


class InUse(InvalidSettings):
    """Another program, which lives, listens there."""


@contextmanager
def unix_socket(path: Path, *, setting: str, what: str) -> Iterator[socket.socket]:
    """Lend a listening socket at a path. `what` listens on it, as `setting` says. Raises InvalidSettings, InUse."""
    if not path.is_absolute():
        raise InvalidSettings(
            f"{setting}: unix:{path} is no absolute path; give unix:/path/to/socket or http://127.0.0.1:port"
        )
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise InvalidSettings(
            f"{setting}: the path of the socket {path} is longer than {MAX_PATH_BYTES} bytes, which no"
            f" system takes; choose a shorter WARRENER_STATE or {setting}"
        )
    _clear(path, setting, what)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        inode = _bind_private(sock, path, setting)
        try:
            sock.listen(_BACKLOG)
            yield sock
        finally:
            _remove(path, inode)
    finally:
        sock.close()


def _clear(path: Path, setting: str, what: str) -> None:
    """Remove the socket that a dead program left; raises InvalidSettings if something else is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidSettings(f"{setting}: cannot make {path.parent}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise InvalidSettings(f"{setting}: {path} is there and is no socket; move it away or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise InvalidSettings(f"{setting}: cannot tell whether {path} is in use: {error}") from error
    raise InUse(f"another {what} already listens on {path}; stop it, or choose another WARRENER_STATE or {setting}")


def _bind_private(sock: socket.socket, path: Path, setting: str) -> int:
    before = os.umask(0o177)  # the file must never be open to others, not even for a moment
    try:
        sock.bind(str(path))
    except OSError as error:
        raise InvalidSettings(f"{setting}: cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    return path.lstat().st_ino


def _remove(path: Path, inode: int) -> None:
    """Remove our socket, not that of a program which came after us."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass


def http_address(url: str, *, setting: str) -> tuple[str, int]:
    """Return host and port of an `http://host:port`. Raises InvalidSettings."""
    forms = "give unix:/path/to/socket or http://127.0.0.1:port"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidSettings(f"{setting}: {url!r} is no address to listen on: {error}; {forms}") from error
    if parts.scheme == "https":
        raise InvalidSettings(f"{setting}: Warrener speaks no TLS here; let a proxy stand in front, and {forms}")
    if parts.scheme != "http" or not parts.hostname or port is None or parts.path not in ("", "/"):
        raise InvalidSettings(f"{setting}: {url!r} is no address to listen on; {forms}")
    return parts.hostname, port


def resolved(url: str, *, setting: str) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return the family and the address to bind to for an `http://host:port`. Raises InvalidSettings."""
    host, port = http_address(url, setting=setting)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InvalidSettings(f"{setting}: there is no address for {host}: {error.strerror}") from error
    return family, address


@contextmanager
def tcp_socket(
    url: str, family: socket.AddressFamily, address: tuple[Any, ...], *, setting: str
) -> Iterator[socket.socket]:
    """Lend a listening socket at an address that `resolved` returned. Raises InvalidSettings."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:
            taken = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise InvalidSettings(f"{setting}: cannot listen on {url}: {taken}") from error
        sock.listen(_BACKLOG)
        yield sock
