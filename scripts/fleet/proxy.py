"""A TCP proxy that can cut a connection in all the ways that networks do: silently, on one side, slowly, rudely."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Self

from fleet.process import HOST, free_port

_READ_BYTES = 64 * 1024


class Proxy:
    """Stands before a port of the loopback, within an event loop: `async with Proxy(port) as proxy`.

    What is cut is not closed: bytes wait, as they do in a network that retransmits, and pass when it is healed. A
    connection that is closed on one side of a cut stays open on the other.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self._target_port = target_port
        self._passes = {"out": asyncio.Event(), "back": asyncio.Event()}
        self.heal()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, HOST, self.port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    def cut(self, *directions: str) -> None:
        """Let nothing pass any more, silently: `out` (to the target), `back`, or both."""
        for direction in directions or ("out", "back"):
            self._passes[direction].clear()

    def heal(self) -> None:
        """Let everything pass again."""
        for passes in self._passes.values():
            passes.set()

    def reset(self) -> None:
        """Break all connections with a RST."""
        for writer in self._clients:
            sock = writer.get_extra_info("socket")
            with suppress(OSError):  # it is closed already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            await self._passes["out"].wait()
            back, there = await asyncio.open_connection(HOST, self._target_port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, there, "out"))
                tasks.create_task(self._pump(back, writer, "back"))
        except* OSError:
            pass
        finally:
            self._clients.discard(writer)
            for end in (there, writer):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, drain: asyncio.StreamWriter, direction: str) -> None:
        passes = self._passes[direction]
        while data := await source.read(_READ_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await passes.wait()
            drain.write(data)
            await drain.drain()
        await passes.wait()  # what is cut does not notice that the other end is gone
        raise ConnectionResetError  # both ends go: a half-closed connection is of no use to AMQP
