"""The health of a program, told over HTTP: `GET /health` with all that it knows, `GET /live` when it only must answer.

A server of its own, so that every program, also a user's worker, has one without another library. It answers one
request a connection, reads no body, and holds few connections for a short time.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field

from warrener.errors import InvalidSettings
from warrener.runtime.sockets import InUse, resolved, tcp_socket, unix_socket
from warrener.settings import Settings

OFF = "off"
SETTING = "WARRENER_HEALTH"

Check = Callable[[], Awaitable[str]]
"""Says what is wrong with a part, or nothing; it may take its time, and may raise."""

_MAX_HEAD_BYTES = 8192
_MAX_CONNECTIONS = 32
_PATIENCE_S = 5.0
_CHECK_PATIENCE_S = 3.0
_FRESH_S = 1.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

log = structlog.get_logger(__name__)


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PartHealth(_Shown):
    """Another program that this one needs, or would like to have."""

    trouble: str = Field(default="", description="What is wrong with it; empty: nothing.")
    needed: bool = Field(default=True, description="Whether the program is unwell without it.")


class Vitals(_Shown):
    """What a program knows of its own health."""

    program: str
    name: str
    version: str
    pid: int
    well: bool
    up_since: datetime
    probe_age_s: float | None = Field(description="How long ago the broker last brought a probe back; null: not yet.")
    parts: Mapping[str, PartHealth] = Field(description="The broker, and the store and gossip where it has them.")


class Health:
    """Finds out how a program is. `optional` names the parts that it can do without."""

    def __init__(
        self,
        program: str,
        name: str,
        checks: Mapping[str, Check],
        *,
        optional: frozenset[str] = frozenset(),
        probe_age_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._program, self._name, self._checks, self._optional = program, name, checks, optional
        self._probe_age_s = probe_age_s
        self._up_since = datetime.now(UTC)
        self._asking = asyncio.Lock()
        self._known: tuple[float, dict[str, PartHealth]] | None = None

    async def vitals(self) -> Vitals:
        """Look at all parts; whoever asks at the same time gets the same answer."""
        async with self._asking:
            now_s = asyncio.get_running_loop().time()
            if self._known is None or now_s - self._known[0] > _FRESH_S:
                troubles = await asyncio.gather(*(_trouble(check) for check in self._checks.values()))
                parts = {
                    name: PartHealth(trouble=trouble, needed=name not in self._optional)
                    for name, trouble in zip(self._checks, troubles, strict=True)
                }
                self._known = asyncio.get_running_loop().time(), parts
            parts = self._known[1]
        return Vitals(
            program=self._program, name=self._name, version=version("warrener"), pid=os.getpid(),
            well=not any(part.needed and part.trouble for part in parts.values()), up_since=self._up_since,
            probe_age_s=self._probe_age_s(), parts=parts,
        )  # fmt: skip


async def _trouble(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_PATIENCE_S):
            return await check()
    except TimeoutError:
        return f"no answer within {_CHECK_PATIENCE_S:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        return str(error) or type(error).__name__


@contextmanager
def health_socket(settings: Settings, name: str) -> Iterator[socket.socket | None]:
    """Lend the listening socket of the settings; None when there is none. Raises InvalidSettings."""
    told = settings.health
    if told == OFF:
        yield None
    elif told.startswith("unix:"):
        with unix_socket(Path(told.removeprefix("unix:").replace("//", "/")), setting=SETTING, what="program") as sock:
            yield sock
    elif told:
        family, address = resolved(told, setting=SETTING)
        with tcp_socket(told, family, address, setting=SETTING) as sock:
            yield sock
    else:
        with _usual_socket(settings.health_folder.absolute(), name) as sock:
            yield sock


@contextmanager
def _usual_socket(folder: Path, name: str) -> Iterator[socket.socket | None]:
    """Lend a socket of the program's name. That there is none must not keep a program from working."""
    for file in (f"{name}.sock", f"{name}-{os.getpid()}.sock"):
        opened = unix_socket(folder / file, setting=SETTING, what="program")
        try:
            sock = opened.__enter__()
        except InUse:  # another program of this name: on this host, or about to end
            continue
        except InvalidSettings as error:
            log.warning("this program does not tell of its health", reason=str(error))
            break
        try:
            yield sock
        finally:
            opened.__exit__(None, None, None)
        return
    yield None


async def serve_health(health: Health, sock: socket.socket) -> None:
    """Answer until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        under_way: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(under_way) >= _MAX_CONNECTIONS:
                writer.transport.abort()
                return
            task = tasks.create_task(_serve_one(health, reader, writer))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

        server = await asyncio.start_server(connected, sock=sock, limit=_MAX_HEAD_BYTES)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()


async def _serve_one(health: Health, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                head = b""
            status, body = await _answer(health, head.split(b"\r\n", 1)[0].decode("latin-1").split(" "))
            writer.write(_response(status, body, with_body=not head.startswith(b"HEAD ")))
            await writer.drain()
    except (OSError, TimeoutError):
        pass  # who asked has gone, or takes too long
    finally:
        writer.close()


async def _answer(health: Health, line: list[str]) -> tuple[int, str]:
    if len(line) != 3 or not line[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
        return 400, '{"problems":["this is no request of HTTP/1"]}'
    method, target, _ = line
    if method not in ("GET", "HEAD"):
        return 405, '{"problems":["there is only GET here"]}'
    match target.partition("?")[0]:
        case "/health":
            vitals = await health.vitals()
            return (200 if vitals.well else 503), vitals.model_dump_json()
        case "/live":
            return 200, '{"live":true}'
        case _:
            return 404, '{"problems":["there is /health and /live"]}'


def _response(status: int, body: str, *, with_body: bool) -> bytes:
    content = body.encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (content if with_body else b"")
