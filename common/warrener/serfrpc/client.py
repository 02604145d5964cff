"""A connection to a Serf agent.

Answers and stream records share the socket. One task reads it and only sorts: an answer goes to the call with
its Seq, a record to the stream with its Seq. A Seq is never used twice, so what comes late for a call that
gave up is dropped.

The agent gives a slow reader 512 events of grace and then drops events without a sign in the stream, and a
stalled stream stalls the commands of its connection. Who needs both for long opens two connections, and takes
a full picture now and then.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from warrener.serfrpc.errors import ConnectionLost, MalformedAnswer, NoAnswer, SerfError, rejection
from warrener.serfrpc.protocol import RPC_VERSION, Body, Decoder, Part, encode
from warrener.serfrpc.records import (
    Coordinate,
    KeyReport,
    QueryEvent,
    SerfMember,
    read_coordinate,
    read_key_report,
    read_members,
    read_stats,
)
from warrener.serfrpc.streams import EventStream, LogStream, QueryAnswers, Stream

_CHUNK_BYTES = 64 * 1024
_POOL_TIMEOUT_S = 30.0
"""The least time for commands that the agent answers only after it has spoken with others."""
_NOTHING = Body({})
_NS_PER_S = 1_000_000_000

S = TypeVar("S", bound=Stream[Any])


@dataclass(frozen=True, slots=True)
class _Call:
    command: str
    has_body: bool
    answer: asyncio.Future[Body]


class SerfClient:
    """A connection, made by `connect`. Whatever is awaited raises SerfError; nothing waits for ever."""

    def __init__(
        self, where: str, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], timeout_s: float
    ) -> None:
        self._where = where
        self._reader, self._writer = streams
        self._timeout_s = timeout_s
        self._seqs = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._streams: dict[int, Stream[Any]] = {}
        self._heard: int | None = None
        self._end: SerfError | None = None
        self._reading = asyncio.create_task(self._read(), name=f"read from the Serf agent at {where}")

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        auth_key: str | None = None,
        answer_within: timedelta = timedelta(seconds=5),
    ) -> Self:
        """Connect and show the key, if there is one; `answer_within` holds for each step and call."""
        where = f"{host}:{port}"
        timeout_s = answer_within.total_seconds()
        try:
            async with asyncio.timeout(timeout_s):
                streams = await asyncio.open_connection(host, port)
        except TimeoutError as error:
            raise NoAnswer(f"the Serf agent at {where} does not answer within {timeout_s:g} s") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConnectionLost(f"the Serf agent at {where} cannot be reached: {reason}") from error
        client = cls(where, streams, timeout_s)
        try:
            await client._ask("handshake", {"Version": RPC_VERSION})
            if auth_key is not None:
                await client._ask("auth", {"AuthKey": auth_key})
        except BaseException:
            await client.close()
            raise
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def lost(self) -> bool:
        """Tell whether the connection is gone, so that every call would raise."""
        return self._end is not None

    async def members(self) -> tuple[SerfMember, ...]:
        return read_members(await self._ask("members", has_body=True))

    async def members_filtered(
        self, *, tags: Mapping[str, str] | None = None, status: str = "", name: str = ""
    ) -> tuple[SerfMember, ...]:
        """Return the members that match all of these regular expressions, each against a whole value."""
        body = {"Tags": dict(tags or {}), "Status": status, "Name": name}
        return read_members(await self._ask("members-filtered", body, has_body=True))

    async def tags(self, values: Mapping[str, str], *, delete: Iterable[str] = ()) -> None:
        """Set and remove tags of the agent's own member; all its tags together have at most 512 bytes."""
        await self._ask("tags", {"Tags": dict(values), "DeleteTags": list(delete)})

    async def join(self, addresses: Iterable[str], *, replay: bool = False) -> int:
        """Join pools through these members; return how many could be reached, CommandRejected if none."""
        body = {"Existing": list(addresses), "Replay": replay}
        answer = await self._ask("join", body, has_body=True, least_s=_POOL_TIMEOUT_S)
        count = answer.fields.get(b"Num")
        return count if isinstance(count, int) else 0

    async def leave(self) -> None:
        """Let the agent leave its pool and end; the connection goes with it."""
        await self._ask("leave", least_s=_POOL_TIMEOUT_S)

    async def force_leave(self, name: str) -> None:
        """Declare a failed member to have left."""
        await self._ask("force-leave", {"Node": name})

    async def event(self, name: str, payload: bytes = b"", *, coalesce: bool = False) -> None:
        """Send a user event: best effort, at most once. With `coalesce` only the latest of a name arrives."""
        await self._ask("event", {"Name": name, "Payload": payload, "Coalesce": coalesce})

    async def stats(self) -> dict[str, dict[str, str]]:
        """Return the agent's figures by section; its own name is at ["agent"]["name"]."""
        return read_stats(await self._ask("stats", has_body=True))

    async def stream(self, *types: str) -> EventStream:
        """Begin a stream of these event types: `member-failed`, `user`, `user:deploy`, …; none: all."""
        return await self._begin(EventStream(next(self._seqs)), "stream", {"Type": ",".join(types) or "*"})

    async def monitor(self, level: str = "INFO") -> LogStream:
        """Follow the agent's log from this level on; the last lines come first. One at a time on a connection."""
        return await self._begin(LogStream(next(self._seqs)), "monitor", {"LogLevel": level})

    async def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        ack: bool = False,
        within: timedelta | None = None,
    ) -> QueryAnswers:
        """Ask the members, or those of these names and tags (regular expressions); best effort, like events.

        Name and payload have 1024 bytes together. Without `within` the agent chooses by the size of the pool.
        """
        body = {
            "FilterNodes": list(nodes),
            "FilterTags": dict(tags or {}),
            "RequestAck": ack,
            "RelayFactor": 0,
            "Timeout": int(within.total_seconds() * _NS_PER_S) if within is not None else 0,
            "Name": name,
            "Payload": payload,
        }
        return await self._begin(QueryAnswers(next(self._seqs)), "query", body)

    async def respond(self, query: QueryEvent, payload: bytes) -> None:
        """Answer a query of the stream, once, in its time; an answer has 1024 bytes."""
        await self._ask("respond", {"ID": query.id, "Payload": payload})

    async def coordinate(self, name: str) -> Coordinate | None:
        """Return where a member lies in the space of round-trip times; None if that is not known."""
        return read_coordinate(await self._ask("get-coordinate", {"Node": name}, has_body=True))

    async def install_key(self, key: str) -> KeyReport:
        """Let every member read what is encrypted with this key too, base 64. Raises CommandRejected if one fails."""
        return await self._keys("install-key", key)

    async def use_key(self, key: str) -> KeyReport:
        """Let every member write with this key, which must be installed everywhere."""
        return await self._keys("use-key", key)

    async def remove_key(self, key: str) -> KeyReport:
        """Let every member forget this key, which must not be in use."""
        return await self._keys("remove-key", key)

    async def list_keys(self) -> KeyReport:
        """Return the keys of all members: whoever may ask this agent, may read them."""
        return await self._keys("list-keys")

    async def _keys(self, command: str, key: str | None = None) -> KeyReport:
        body = None if key is None else {"Key": key}
        return read_key_report(await self._ask(command, body, has_body=True, least_s=_POOL_TIMEOUT_S))

    async def _begin(self, stream: S, command: str, body: Mapping[str, object]) -> S:
        self._streams[stream.seq] = stream
        try:
            await self._ask(command, body, seq=stream.seq)
        except BaseException:
            self._streams.pop(stream.seq, None)
            raise
        return stream

    async def stop(self, seq: int) -> None:
        """End the stream of this Seq."""
        stream = self._streams.pop(seq, None)
        if stream is not None:
            stream.end()
        await self._ask("stop", {"Stop": seq})

    async def close(self) -> None:
        """Drop the connection; calls and streams end with ConnectionLost. Closing twice does nothing."""
        self._fail(ConnectionLost(f"the connection to the Serf agent at {self._where} was closed here"))
        self._reading.cancel()
        self._writer.close()
        await asyncio.wait([self._reading])
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _ask(
        self,
        command: str,
        body: Mapping[str, object] | None = None,
        *,
        has_body: bool = False,
        seq: int | None = None,
        least_s: float = 0.0,
    ) -> Body:
        if self._end is not None:
            raise self._end.with_traceback(None)
        seq = next(self._seqs) if seq is None else seq
        limit_s = max(self._timeout_s, least_s)
        call = _Call(command, has_body, asyncio.get_running_loop().create_future())
        self._calls[seq] = call
        try:
            async with asyncio.timeout(limit_s):
                self._writer.write(encode(command, seq, body))
                await self._writer.drain()
                return await call.answer
        except TimeoutError as error:
            raise NoAnswer(f"the Serf agent at {self._where} did not answer {command} within {limit_s:g} s") from error
        except OSError as error:
            raise ConnectionLost(f"the Serf agent at {self._where} went away: {error}") from error
        finally:
            self._calls.pop(seq, None)
            _forget(call.answer)

    async def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := await self._reader.read(_CHUNK_BYTES):
                for part in decoder.feed(data):
                    self._sort(part)
            self._fail(ConnectionLost(f"the Serf agent at {self._where} closed the connection"))
        except OSError as error:
            self._fail(ConnectionLost(f"the Serf agent at {self._where} went away: {error}"))
        except MalformedAnswer as error:
            self._fail(error)
        finally:
            # Whatever ended the reading: nobody may wait for it any more.
            self._fail(ConnectionLost(f"the answers of the Serf agent at {self._where} are no longer read"))
            self._writer.close()

    def _sort(self, part: Part) -> None:
        if isinstance(part, Body):
            self._give(part)
            return
        self._heard = part.seq
        call = self._calls.get(part.seq)
        if call is None:
            return  # of a stream, whose body follows, or of a call that gave up
        if part.error:
            self._settle(part.seq, rejection(call.command, part.error))
        elif not call.has_body:
            self._settle(part.seq, _NOTHING)

    def _give(self, body: Body) -> None:
        """Give a body to whom the header before it was for; nobody, if that one gave up."""
        seq, self._heard = self._heard, None
        if seq is None:
            return
        if seq in self._calls:
            self._settle(seq, body)
        elif (stream := self._streams.get(seq)) is not None:
            stream.take(body)
            if stream.ended:
                del self._streams[seq]

    def _settle(self, seq: int, outcome: Body | SerfError) -> None:
        # The call goes at once, not when its caller wakes: the next header with this Seq is its stream's.
        answer = self._calls.pop(seq).answer
        if answer.done():
            return
        if isinstance(outcome, Body):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)

    def _fail(self, reason: SerfError) -> None:
        if self._end is not None:
            return
        self._end = reason
        for seq in list(self._calls):
            self._settle(seq, reason)
        for stream in self._streams.values():
            stream.end(reason)
        self._streams.clear()


def _forget(answer: asyncio.Future[Body]) -> None:
    """Give an answer up; if it is a failure, it counts as seen, as the caller has got another one."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()
