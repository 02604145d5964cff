"""The scheduler: owns shards, ticks, publishes.

A session is one ownership of shards: take them, read the book, tick until something breaks, or until shards should come
or go. Whatever breaks (the store goes away, an epoch is lost, a bug) ends the session; what was not settled comes back,
and the next session begins from the store. There is no other way to recover, so this one is always tested. When shards
move, the session ends in good order: the last tick is settled, and what was posted goes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog

from warrener.broker import Broker, Message, Queue, Subscription
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, Fenced, StoreUnavailable, Unavailable
from warrener.ids import new_token
from warrener.messages import Orders, RollCall, encode
from warrener.store import Changes, Store, Transaction
from warrener.topology import CONTROL, PARKED_QUEUE, SUBMISSIONS, control, reports

from .crash_points import crash_point
from .demand import listen
from .emitter import Emitter
from .engine import UNSENT_AT_ONCE, Engine
from .inlet import Inlet
from .ownership import Ownership
from .retiring import FOR_EVER, Keeping, Retiring
from .rounds import Rounds
from .tick import Rules

log = structlog.get_logger(__name__)

PREFETCH = 400
SUBMISSIONS_PREFETCH = 64

INBOX_KEPT = timedelta(days=7)
RUN_TIMES_KEPT = timedelta(days=180)
_KEEP_RUN_TIMES_EVERY_S = 10.0
_FORGET_EVERY_S = 60.0
_AGAIN_S = 1.0
_LAST_WORDS_S = 3.0
"""How long shards that move wait for the broker to confirm what was posted for them."""


class SchedulerService:
    """One scheduler program."""

    def __init__(
        self,
        *,
        store: Store,
        broker: Broker,
        rules: Rules,
        clock: Clock,
        name: str,
        shard_lease: timedelta,
        orders_lost: bool = False,
        keeping: Keeping = FOR_EVER,
    ) -> None:
        """`orders_lost`: the broker begins with this program, empty; nothing that was sent before is on its way."""
        self._store, self._broker, self._rules, self._clock, self._name = store, broker, rules, clock, name
        self._ownership = Ownership(store, name, new_token(rules.rng), shard_lease)
        self._engine = Engine(rules)
        self._engine.book.peers.name = name
        self._orders_lost = orders_lost
        self._moving = asyncio.Event()  # of this session: shards should come or go
        self._news = asyncio.Event()
        self._retiring = Retiring(store, clock, keeping)

    async def run(self) -> None:
        """Schedule until cancelled; then give the shards up."""
        try:
            while True:
                pause_s = _AGAIN_S
                try:
                    await self._session()
                    pause_s = 0.0
                except* (Unavailable, Fenced) as group:
                    for error in _leaves(group):
                        log.warning("scheduling stopped; beginning again from the store", reason=_sentence(error))
                # Not within `except*`: it would wrap a cancellation into a group.
                await asyncio.sleep(pause_s)
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self._ownership.release()
                await self._save_run_times()
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("could not give up the shards; others take them after the lease", reason=str(error))

    async def _session(self) -> None:
        epochs = await self._won_shards()
        crash_point("scheduler.taken")
        self._moving, self._news = asyncio.Event(), asyncio.Event()
        # From now on, whatever the rest takes: shards whose owner is slow to begin would be taken for a dead one's.
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep(self._news))
            await self._work(epochs)
            keeping.cancel()

    async def _work(self, epochs: Mapping[int, int]) -> None:
        """Open what brings reports and submissions, and go round until shards move."""
        news = self._news
        own = control(f"{self._name}.{new_token(self._rules.rng)}", "heartbeat", "member", "wake")
        queues = [PARKED_QUEUE, own, *(reports(shard) for shard in sorted(epochs))]
        async with AsyncExitStack() as stack:
            reported = await self._subscribed(queues, prefetch=PREFETCH)
            stack.push_async_callback(reported.close)
            submitted = await self._subscribed([SUBMISSIONS], prefetch=SUBMISSIONS_PREFETCH)
            stack.push_async_callback(submitted.close)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            inlets = Inlet(reported, news), Inlet(submitted, news)
            works = (
                self._forget(), self._keep_run_times(), self._retiring.run(epochs), self._listen(),
                *(inlet.run() for inlet in inlets),
            )  # fmt: skip
            beside = [tasks.create_task(work) for work in works]
            await self._schedule(*inlets, news)
            for task in beside:
                task.cancel()

    async def _schedule(self, reported: Inlet, submitted: Inlet, news: asyncio.Event) -> None:
        """Go round until shards move; then let what was posted go out, so that nobody has to send it again."""
        try:
            async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as tasks:
                emitter = Emitter(self._broker, tasks, self._lose)
                left = await self._load()
                await self._recall()
                crash_point("scheduler.loaded")
                unsent = await self._send_left(left, emitter)
                emitter.emit([_to_be_claimed(message) for message in unsent], [self._roll_call()])
                log.info("scheduling", shards=len(self._ownership.epochs), unsent=len(unsent))
                rounds = Rounds(
                    self._engine, self._store, self._clock, emitter,
                    reported=reported, submitted=submitted, news=news, load=self._load,
                )  # fmt: skip
                await rounds.run(self._moving)
                patience.reschedule(asyncio.get_running_loop().time() + _LAST_WORDS_S)
        except TimeoutError:
            log.warning("the broker confirms too slowly; what is left stands in the outbox, and is sent again")
        crash_point("scheduler.leaving")
        sent = emitter.take_confirmed(at_once=True)
        await self._store.apply(lambda _: (None, Changes(sent=sent)))
        log.info("shards move; going on with those that are ours then")

    async def _won_shards(self) -> dict[int, int]:
        """Wait until there are shards to own."""
        said = False
        while not (epochs := await self._take()):
            if not said:
                log.info("standing by: no shard is free that this scheduler should have")
                said = True
            await asyncio.sleep(self._ownership.pause_s)
        return epochs

    async def _take(self) -> dict[int, int]:
        epochs = await self._ownership.take()
        self._engine.book.peers.others = self._ownership.others
        return epochs

    async def _subscribed(self, queues: Sequence[Queue], *, prefetch: int) -> Subscription:
        """Wait until the broker is there, as long as no shard should move."""
        said = False
        while True:
            try:
                return await self._broker.subscribe(queues, prefetch=prefetch, lost=self._lose)
            except BrokerUnavailable as error:
                if not said:
                    log.warning("waiting for the broker", reason=str(error))
                    said = True
                if self._moving.is_set():
                    raise  # others can have them meanwhile
                await asyncio.sleep(_AGAIN_S)

    def _lose(self, queue: str) -> None:
        """Hear that a queue is gone: deleted, or with all of its broker."""
        self._engine.lose(queue, self._clock.now())
        self._news.set()

    async def _load(self) -> list[Message]:
        epochs, now = dict(self._ownership.epochs), self._clock.now()

        def load(tx: Transaction) -> list[Message]:
            tx.shards.fence(epochs)
            return self._engine.load(tx, epochs, now)

        return await self._store.transact(load)

    async def _send_left(self, unsent: Sequence[Message], emitter: Emitter) -> Sequence[Message]:
        """Send what an earlier life left in the outbox, a part at a time, and return the last part."""
        while len(unsent) == UNSENT_AT_ONCE:
            emitter.emit([_to_be_claimed(message) for message in unsent], [])
            await emitter.idle(self._moving)
            if self._moving.is_set():
                return []  # the others send what is left
            unsent = await self._next_unsent(emitter.take_confirmed(at_once=True))
        return unsent

    async def _next_unsent(self, sent: Sequence[str]) -> Sequence[Message]:
        epochs = dict(self._ownership.epochs)

        def work(tx: Transaction) -> Sequence[Message]:
            tx.write(Changes(sent=sent))
            return tx.mail.unsent(epochs, UNSENT_AT_ONCE)

        return await self._store.transact(work)

    async def _recall(self) -> None:
        """Place anew, once in this life, what an earlier life had sent by a broker that is no more."""
        if self._orders_lost:
            now = self._clock.now()
            await self._store.apply(lambda tx: self._engine.recall(tx, now))
            self._orders_lost = False

    def _roll_call(self) -> Message:
        return Message(
            exchange=CONTROL, routing_key="rollcall", kind=RollCall.KIND, body=encode(RollCall()),
            message_id=new_token(self._rules.rng), durable=False, mandatory=False,
        )  # fmt: skip

    # ── beside the loop ──────────────────────────────────────────────────────────────────────────────────────

    async def _keep(self, news: asyncio.Event) -> None:
        while True:
            await asyncio.sleep(self._ownership.pause_s)
            if await self._ownership.keep():
                self._moving.set()
                news.set()
            self._engine.book.peers.others = self._ownership.others

    async def _listen(self) -> None:
        queue = control(f"{self._name}.{new_token(self._rules.rng)}", "demand")
        await listen(self._broker, queue, self._engine.book.peers, self._clock)

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_EVERY_S)
            await self._store.transact(self._forget_some)

    def _forget_some(self, tx: Transaction) -> None:
        now = self._clock.now()
        tx.mail.forget(now - INBOX_KEPT, 5_000)
        tx.run_times.forget(now - RUN_TIMES_KEPT, 5_000)

    async def _keep_run_times(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_RUN_TIMES_EVERY_S)
            await self._save_run_times()

    async def _save_run_times(self) -> None:
        if self._engine.book.history.has_moved:
            await self._store.transact(lambda tx: self._engine.keep_run_times(tx, self._clock.now()))


def _to_be_claimed(message: Message) -> Message:
    """Mark an order that may be out already: whoever gets it must claim it."""
    if message.kind != Orders.KIND:
        return message
    return Message(
        exchange=message.exchange, routing_key=message.routing_key, kind=message.kind, body=message.body,
        message_id=message.message_id, priority=message.priority, headers={**message.headers, "claim": "1"},
    )  # fmt: skip


def _leaves(group: BaseExceptionGroup) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__
