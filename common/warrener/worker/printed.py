"""What attempts print: collected, bounded, and sent now and then. Logs are a courtesy; what is lost is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from warrener.ids import shard_of
from warrener.messages import LogChunk, Logs
from warrener.topology import REPORTS
from warrener.worker.endings import clean
from warrener.worker.identity import Identity
from warrener.worker.post import Post
from warrener.worker.work import Work

Stream = Literal["stdout", "stderr"]

MAX_PRINTED = 1024 * 1024
"""Characters kept of one attempt, both streams together."""

MAX_WAITING = 16 * 1024 * 1024
"""Characters of all attempts that wait to be sent: with the broker away or blocked, more is dropped."""

_EVERY_S = 0.5
_CHUNK = 16 * 1024
_CHUNKS_PER_MESSAGE = 8
_CHUNKS_PER_ROUND = 64
_DROPPED = f"\n[the rest was dropped: an attempt may print {MAX_PRINTED:,} characters; write more to a file]\n"

_DROPPED_WAITING = "\n[the rest was dropped: nothing could be sent, and too much waited]\n"


@dataclass(slots=True, eq=False)
class _Printed:
    work: Work
    pending: dict[Stream, list[str]] = field(default_factory=lambda: {"stdout": [], "stderr": []})
    offsets: dict[Stream, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    total: int = 0
    full: bool = False


class Printer:
    """Collects what attempts print. An unclaimed call's lines are kept until it is claimed or has ended."""

    def __init__(self, who: Identity, post: Post) -> None:
        self._who = who
        self._post = post
        self._printed: dict[int, _Printed] = {}
        self._waiting = 0
        self._some = asyncio.Event()

    def connect(self, work: Work) -> None:
        """Give an attempt its `log`."""
        work.assignment.log = partial(self._take, work)

    def _take(self, work: Work, stream: Stream, text: str) -> None:
        printed = self._printed.get(id(work))
        if printed is None:
            printed = self._printed[id(work)] = _Printed(work)
        room = MAX_PRINTED - printed.total
        if printed.full or not text:
            return
        if len(text) > room:
            printed.full = True
            text = text[:room] + _DROPPED
        elif self._waiting + len(text) > MAX_WAITING:
            printed.full = True
            text = _DROPPED_WAITING
        printed.total += len(text)
        self._waiting += len(text)
        printed.pending[stream].append(text)
        self._some.set()

    async def send(self) -> None:
        """Send, for ever, what has come."""
        while True:
            await self._some.wait()
            self._some.clear()
            await self.flush()
            await asyncio.sleep(_EVERY_S)

    async def flush(self) -> None:
        """Send what is there, within the bounds of one round."""
        chunks: dict[int, list[LogChunk]] = {}
        count = 0
        for printed in list(self._printed.values()):
            for chunk in self._cut(printed, _CHUNKS_PER_ROUND - count):
                count += 1
                chunks.setdefault(shard_of(chunk.run), []).append(chunk)
            self._forget_if_over(printed)
        for shard, some in chunks.items():
            for start in range(0, len(some), _CHUNKS_PER_MESSAGE):
                part = some[start : start + _CHUNKS_PER_MESSAGE]
                body = Logs(worker=self._who.name, boot=self._who.boot, chunks=part)
                await self._post.send(REPORTS, str(shard), body, durable=False, mandatory=False)

    def _cut(self, printed: _Printed, most: int) -> list[LogChunk]:
        work = printed.work
        chunks: list[LogChunk] = []
        if not work.claimed:
            return chunks
        for stream, pieces in printed.pending.items():
            text = "".join(pieces)
            while text and len(chunks) < most:
                piece, text = text[:_CHUNK], text[_CHUNK:]
                ref = work.ref
                chunks.append(
                    LogChunk(
                        run=ref.run, n=ref.n, attempt=ref.attempt, token=work.assignment.token, stream=stream,
                        offset=printed.offsets[stream], text=clean(piece),
                    )
                )  # fmt: skip
                printed.offsets[stream] += len(piece)
                self._waiting -= len(piece)
            printed.pending[stream] = [text] if text else []
            if text:
                self._some.set()
        return chunks

    def _forget_if_over(self, printed: _Printed) -> None:
        waits_for_claim = printed.work.asking and not printed.work.claimed
        pending = any(printed.pending.values())
        if printed.work.over and not waits_for_claim and not (pending and printed.work.claimed):
            self._waiting -= sum(len(piece) for pieces in printed.pending.values() for piece in pieces)
            del self._printed[id(printed.work)]
        elif pending:
            self._some.set()
