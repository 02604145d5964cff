"""The reports of direct calls: whatever has come together goes as one message, and a lone one goes at once.

While as many messages are under way as may be, the next ones grow. An order is settled when the reports of all its
calls are confirmed, so after a crash the calls come back, and only those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from warrener.ids import shard_of
from warrener.messages import Report, Reports
from warrener.runtime.crash import crash_point
from warrener.topology import REPORTS
from warrener.worker.identity import Identity
from warrener.worker.post import Post, backoff_s
from warrener.worker.work import Bundle, Work, finish

MAX_REPORTS = 200
MAX_BATCH_BYTES = 512 * 1024
MAX_UNDER_WAY = 2
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""While so much of reports waits to be confirmed, no more orders are taken; those that were taken are done."""


class DirectReports:
    """Sends the endings of direct calls; `settled` hears of each call whose report is confirmed."""

    def __init__(
        self,
        who: Identity,
        post: Post,
        rng: Random,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        settled: Callable[[Work], None],
    ) -> None:
        self._who = who
        self._post = post
        self._rng = rng
        self._spawn = spawn
        self._settled = settled
        self._waiting: dict[int, list[Work]] = {}
        self._senders = 0
        self._starting = False
        self._bytes = 0
        self.room = asyncio.Event()
        """Set while more orders may be taken, as far as their reports are concerned."""
        self.room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, work: Work) -> None:
        """Take a call that has ended; its report goes where its bundle says."""
        home = work.bundles[0].home if work.bundles else shard_of(work.order.run)
        self._waiting.setdefault(home, []).append(work)
        self._count(work, 1)
        self._idle.clear()
        self._start_sender()

    async def drain(self) -> None:
        """Wait until every report is confirmed."""
        await self._idle.wait()

    def _count(self, work: Work, sign: int) -> None:
        assert work.ending is not None
        self._bytes += sign * work.ending.bytes
        if self._bytes < MAX_WAITING_BYTES:
            self.room.set()
        else:
            self.room.clear()

    def _start_sender(self) -> None:
        """Have what waits sent in the next turn of the loop, with what else comes in this one."""
        if self._waiting and not self._starting and self._senders < MAX_UNDER_WAY:
            self._starting = True
            self._senders += 1
            self._spawn(self._send_waiting())

    async def _send_waiting(self) -> None:
        self._starting = False
        try:
            while self._waiting:
                home = next(iter(self._waiting))
                batch = self._next_batch(home)
                self._start_sender()
                await self._send(home, batch)
        finally:
            self._senders -= 1
            if not self._waiting and not self._senders:
                self._idle.set()

    def _next_batch(self, home: int) -> list[Work]:
        waiting = self._waiting.pop(home)
        size, count = 0, 0
        for work in waiting[:MAX_REPORTS]:
            assert work.ending is not None
            size += work.ending.bytes
            if count and size > MAX_BATCH_BYTES:
                break
            count += 1
        if len(waiting) > count:
            self._waiting[home] = waiting[count:]  # behind the other shards
        return waiting[:count]

    async def _send(self, home: int, batch: list[Work]) -> None:
        body = Reports(worker=self._who.name, boot=self._who.boot, reports=[_report(work) for work in batch])
        tries = 0
        while not await self._post.send(REPORTS, str(home), body):
            tries += 1
            await asyncio.sleep(backoff_s(tries, self._rng, first_s=0.5, longest_s=10))
        crash_point("worker.direct-reported")
        bundles: list[Bundle] = []
        for work in batch:
            bundles += work.bundles
            self._count(work, -1)
            self._settled(work)
        await finish(bundles)


def _report(work: Work) -> Report:
    assert work.ending is not None
    return work.ending.report(work.ref, work.assignment.token)
