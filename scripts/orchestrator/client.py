"""Submitting and watching over AMQP, as any program in any language could: see docs/amqp.md."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Any, Self

from warrener.broker import Broker, Delivery, Message, Queue, Subscription
from warrener.errors import BrokerUnavailable, QueueFull
from warrener.ids import RunId, new_token
from warrener.messages import Acceptance, Accepted, CancelRuns, Event, Events, RunRequest, Submit, decode, encode
from warrener.signing import HEADER, SubmitKey
from warrener.topology import REPORTS, SUBMISSIONS, events

REPLY_S = 5.0
"""How long to wait for a reply before the same requests are sent again: repeating them is harmless.

Each time twice as long, for behind a long queue the repetitions would only make it longer.
"""
_LONGEST_REPLY_S = 60.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


class Orchestrator:
    """Submits runs under one owner, and hears of them. Use as an async context manager."""

    def __init__(self, broker: Broker, key: SubmitKey, owner: str, rng: Random) -> None:
        self._broker, self._key, self._owner, self._rng = broker, key, owner, rng
        self._me = new_token(rng)
        self._replies: dict[str, asyncio.Future[Accepted]] = {}
        self._subscriptions: list[Subscription] = []
        self._listening: asyncio.Task[None] | None = None
        self.heard: asyncio.Queue[Event] = asyncio.Queue()
        self.refused = 0
        """How often the queue of submissions was full; each time this client slowed down."""

    async def __aenter__(self) -> Self:
        await self._broker.declare([SUBMISSIONS])
        replies = await self._broker.subscribe([Queue(f"replies.{self._me}", exclusive=True)], prefetch=100)
        runs = await self._broker.subscribe([events(self._me, "runs")], prefetch=500)
        self._subscriptions = [replies, runs]
        self._listening = asyncio.create_task(self._listen(replies, runs))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        for subscription in self._subscriptions:
            await subscription.close()

    async def submit(self, workflow: dict[str, Any], requests: Sequence[RunRequest]) -> list[Acceptance]:
        """Submit runs of a workflow; returns when they are committed, however long that takes.

        A full queue, or a broker that is blocked, makes it try again, more slowly each time.
        """
        body = encode(Submit(owner=self._owner, workflow=workflow, runs=list(requests)))
        reply_s, pause_s = REPLY_S, _FIRST_PAUSE_S
        while True:
            reply: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
            correlation = new_token(self._rng)
            self._replies[correlation] = reply
            try:
                await self._send(Submit.KIND, body, correlation, _priority(requests))
                async with asyncio.timeout(reply_s):
                    return (await reply).results
            except QueueFull:
                self.refused += 1
            except BrokerUnavailable:
                pass
            except TimeoutError:
                reply_s = min(2 * reply_s, _LONGEST_REPLY_S)
                continue
            finally:
                del self._replies[correlation]
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def throw(self, workflow: dict[str, Any], requests: Sequence[RunRequest]) -> None:
        """Publish a submission and wait for no answer, as a rude client does; raises QueueFull."""
        body = encode(Submit(owner=self._owner, workflow=workflow, runs=list(requests)))
        await self._send(Submit.KIND, body, None, _priority(requests))

    async def cancel(self, runs: Sequence[RunId]) -> None:
        """Ask for runs to be cancelled; it is done when their events say so."""
        await self._send(CancelRuns.KIND, encode(CancelRuns(owner=self._owner, runs=list(runs))), None)

    async def _send(self, kind: str, body: bytes, correlation: str | None, priority: int = 4) -> None:
        await self._broker.publish(
            Message(
                exchange=REPORTS,
                routing_key="submissions",
                kind=kind,
                body=body,
                message_id=new_token(self._rng),
                priority=priority,
                reply_to=f"replies.{self._me}",
                correlation_id=correlation,
                headers={HEADER: self._key.sign(body)},
            )
        )

    async def _listen(self, replies: Subscription, runs: Subscription) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._each(replies, self._on_reply))
            tasks.create_task(self._each(runs, self._on_events))

    async def _each(self, subscription: Subscription, handle: Any) -> None:
        while True:
            deliveries = await subscription.take(100)
            for delivery in deliveries:
                handle(delivery)
            await subscription.settle(deliveries)

    def _on_reply(self, delivery: Delivery) -> None:
        waiting = self._replies.get(delivery.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(decode(delivery.kind, delivery.body, Accepted))

    def _on_events(self, delivery: Delivery) -> None:
        for event in decode(delivery.kind, delivery.body, Events).events:
            if event.owner == self._owner:
                self.heard.put_nowait(event)


def _priority(requests: Sequence[RunRequest]) -> int:
    """Return the priority of a submission: that of its most urgent run."""
    return max(4 if request.priority is None else request.priority for request in requests)
