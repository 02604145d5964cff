"""What cannot be sent yet is bounded."""

from __future__ import annotations

import asyncio
import itertools

from structlog.testing import capture_logs

from warrener.broker import Message
from warrener.brokers.memory import MemoryBroker
from warrener.errors import BrokerBlocked
from warrener.topology import ORDERS, orders
from warrener_services.scheduler import emitter as module
from warrener_services.scheduler.emitter import MAX_UNSENT, MAX_UNSENT_BYTES, Emitter

_numbers = itertools.count()


class Blocked(MemoryBroker):
    """A broker with an alarm."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    async def publish(self, message: Message) -> None:
        if not self.over.is_set():
            await asyncio.sleep(0)
            raise BrokerBlocked("the broker is blocked: memory alarm")
        await super().publish(message)

    def trouble(self) -> str:
        return "" if self.over.is_set() else "the broker is blocked: memory alarm"


def order(size_bytes: int = 1) -> Message:
    return Message(ORDERS, "job", "orders/1", b"x" * size_bytes, f"m{next(_numbers)}")


async def test_who_ticks_waits_while_too_much_is_unsent_and_goes_on_when_the_broker_does() -> None:
    broker = Blocked()
    await broker.declare([orders("job")])
    async with asyncio.TaskGroup() as tasks:
        emitter = Emitter(broker, tasks)
        emitter.emit([order() for _ in range(MAX_UNSENT - 1)], [])
        await emitter.room(asyncio.Event())
        emitter.emit([order()], [])
        waiting = asyncio.create_task(emitter.room(asyncio.Event()))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        broker.over.set()
        async with asyncio.timeout(20):
            await waiting
            await emitter.idle(asyncio.Event())
    assert len(emitter.take_confirmed(at_once=True)) == MAX_UNSENT


async def test_large_messages_are_counted_by_their_bytes() -> None:
    broker = Blocked()
    await broker.declare([orders("job")])
    async with asyncio.TaskGroup() as tasks:
        emitter = Emitter(broker, tasks)
        large = [order(1024 * 1024) for _ in range(MAX_UNSENT_BYTES // 1024 // 1024)]
        emitter.emit(large, [])
        waiting = asyncio.create_task(emitter.room(asyncio.Event()))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        broker.over.set()
        async with asyncio.timeout(20):
            await waiting


async def test_loose_messages_that_get_lost_make_room() -> None:
    async with asyncio.TaskGroup() as tasks:
        emitter = Emitter(Blocked(), tasks)
        emitter.emit([], [order() for _ in range(MAX_UNSENT)])
        async with asyncio.timeout(20):
            await emitter.idle(asyncio.Event())


async def test_a_long_wait_says_why(monkeypatch) -> None:
    monkeypatch.setattr(module, "_LONG_S", 0.01)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    broker = Blocked()
    await broker.declare([orders("job")])
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            emitter = Emitter(broker, tasks)
            emitter.emit([order() for _ in range(MAX_UNSENT)], [])
            waiting = asyncio.create_task(emitter.room(asyncio.Event()))
            while not logs:
                await asyncio.sleep(0)
            broker.over.set()
            async with asyncio.timeout(20):
                await waiting
    assert logs[0]["why"] == "the broker is blocked: memory alarm"
    assert [line["event"] for line in logs] == [
        "waiting for the broker to take what was decided", "the broker takes what was decided again",
    ]  # fmt: skip


async def test_who_is_told_to_end_does_not_wait_for_the_broker(monkeypatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    broker, until = Blocked(), asyncio.Event()
    await broker.declare([orders("job")])
    async with asyncio.TaskGroup() as tasks:
        emitter = Emitter(broker, tasks)
        emitter.emit([order() for _ in range(MAX_UNSENT)], [])
        waiting = [asyncio.create_task(wait(until)) for wait in (emitter.room, emitter.idle)]
        until.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting)
        broker.over.set()
