"""Asking owners for attempts. Claims that come up together travel together, one message at a time per shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from warrener.clock import Clock
from warrener.ids import AttemptRef, shard_of
from warrener.messages import Answers, Claim, Claims, Order, Refusal
from warrener.runtime.crash import crash_point
from warrener.topology import REPORTS
from warrener.worker.identity import Identity
from warrener.worker.post import Post

ANSWER_S = 10.0
"""How long an answer may take; the claim itself expires then, so that no old claims pile up."""

_TRIES = 3
_MAX_BATCH = 200


@dataclass(frozen=True, slots=True)
class Granted:
    """The attempt is this worker's. `claimed_s`: when the claim that was answered was sent, on the boot clock."""

    token: str
    claimed_s: float


@dataclass(slots=True, eq=False)
class _Question:
    claim: Claim
    answer: asyncio.Future[Granted | Refusal]
    sent_s: dict[int, float] = field(default_factory=dict)
    """When it was asked, by the number of the claims message: an answer counts from its own question."""


class Asking:
    """The open questions of one worker."""

    def __init__(
        self, who: Identity, post: Post, clock: Clock, spawn: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        self._who = who
        self._post = post
        self._clock = clock
        self._spawn = spawn
        self._seq = 0
        self._open: dict[AttemptRef, _Question] = {}
        self._waiting: dict[int, list[_Question]] = {}

    async def ask(self, order: Order) -> Granted | Refusal | None:
        """Claim an attempt; None when nobody answered three times.

        At most one question per attempt is open at a time: the caller drops duplicates.
        """
        claim = Claim(run=order.run, n=order.n, attempt=order.attempt, token=order.token)
        question = _Question(claim, asyncio.get_running_loop().create_future())
        self._open[order.ref] = question
        try:
            for _ in range(_TRIES):
                self._put(question)
                await asyncio.wait([question.answer], timeout=ANSWER_S)
                if question.answer.done():
                    return question.answer.result()
            return None
        finally:
            self._open.pop(order.ref, None)
            question.answer.cancel()

    def heed(self, answers: Answers) -> None:
        """Hear grants and refusals; those that answer no open question change nothing."""
        for grant in answers.grants:
            question = self._open.get(grant.ref)
            if question is not None and grant.seq in question.sent_s and not question.answer.done():
                question.answer.set_result(Granted(grant.token, question.sent_s[grant.seq]))
        for refusal in answers.refusals:
            question = self._open.get(refusal.ref)
            if question is not None and refusal.seq in question.sent_s and not question.answer.done():
                question.answer.set_result(refusal)

    def again(self) -> None:
        """Ask everything once more, now: a scheduler that has just started lost the answers of its earlier life."""
        for question in list(self._open.values()):
            if not question.answer.done():
                self._put(question)

    def _put(self, question: _Question) -> None:
        shard = shard_of(question.claim.run)
        if shard in self._waiting:
            if question not in self._waiting[shard]:
                self._waiting[shard].append(question)
        else:
            self._waiting[shard] = [question]
            self._spawn(self._send(shard))

    async def _send(self, shard: int) -> None:
        """Send what waits for this shard, and what comes while it is sent."""
        try:
            await asyncio.sleep(0)  # let those that come up in this turn of the loop travel along
            while waiting := self._waiting[shard]:
                batch, self._waiting[shard] = waiting[:_MAX_BATCH], waiting[_MAX_BATCH:]
                await self._send_batch(shard, [question for question in batch if not question.answer.done()])
        finally:
            del self._waiting[shard]

    async def _send_batch(self, shard: int, batch: list[_Question]) -> None:
        if not batch:
            return
        self._seq += 1
        now_s = self._clock.boot_s()
        for question in batch:
            question.sent_s[self._seq] = now_s
        body = Claims(
            worker=self._who.name, boot=self._who.boot, site=self._who.site.name, seq=self._seq,
            claims=[question.claim for question in batch],
        )  # fmt: skip
        expires = timedelta(seconds=ANSWER_S)
        if await self._post.send(REPORTS, str(shard), body, durable=False, expires=expires):
            crash_point("worker.claimed")
