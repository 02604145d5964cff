"""What comes under one Seq after its answer: events, lines of a log, answers to a query."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, Self, TypeVar

from warrener.serfrpc.errors import SerfError, TooSlow
from warrener.serfrpc.protocol import Body
from warrener.serfrpc.records import (
    Event,
    QueryAck,
    QueryAnswer,
    QueryDone,
    QueryResponse,
    read_event,
    read_line,
    read_query_record,
)

T = TypeVar("T")

_MAX_WAITING = 65_536


class Stream(ABC, Generic[T]):
    """The records of one stream; iterate over it, in one task at a time.

    Waiting for the next record may be cancelled without losing one. Iteration raises SerfError when the
    connection is lost or the stream overruns, and ends quietly after `stop`.
    """

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self._records: deque[T] = deque()
        self._end: SerfError | StopAsyncIteration | None = None
        self._stirred = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._records:
            if self._end is not None:
                raise self._end.with_traceback(None)
            self._stirred.clear()
            await self._stirred.wait()
        return self._records.popleft()

    @property
    def ended(self) -> bool:
        """Tell whether nothing more comes; what has come may still wait."""
        return self._end is not None

    @abstractmethod
    def take(self, body: Body) -> None:
        """Read a record; only the reader of the connection calls this. Raises MalformedAnswer."""

    def put(self, record: T) -> None:
        """Add a record; only the reader of the connection calls this."""
        if len(self._records) >= _MAX_WAITING:
            self.end(TooSlow(f"{_MAX_WAITING} Serf events wait unread; take a full picture, start anew"))
        if self._end is None:
            self._records.append(record)
            self._stirred.set()

    def end(self, reason: SerfError | None = None) -> None:
        """Let the iteration end, after what has come; only the client calls this."""
        if self._end is None:
            self._end = reason or StopAsyncIteration()
            self._stirred.set()


class EventStream(Stream[Event]):
    """Events, as `stream` asked for them."""

    def take(self, body: Body) -> None:
        self.put(read_event(body))


class LogStream(Stream[str]):
    """Lines of the agent's log, as `monitor` asked for them."""

    def take(self, body: Body) -> None:
        self.put(read_line(body))


class QueryAnswers(Stream[QueryAnswer]):
    """What members say to a query. Ends quietly when the query's time is over."""

    def take(self, body: Body) -> None:
        record = read_query_record(body)
        if isinstance(record, QueryDone):
            self.end()
        else:
            self.put(record)

    async def all(self) -> tuple[tuple[QueryAck, ...], tuple[QueryResponse, ...]]:
        """Wait until the query's time is over; return who has heard it, and what was said."""
        records = [record async for record in self]
        return (
            tuple(record for record in records if isinstance(record, QueryAck)),
            tuple(record for record in records if isinstance(record, QueryResponse)),
        )
