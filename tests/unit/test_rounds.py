"""Rounds that overlap: what becomes of the one behind when the one before fails."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from warrener.broker import Delivery
from warrener.errors import StoreUnavailable
from warrener_services.scheduler import rounds
from warrener_services.scheduler.engine import Effects
from warrener_services.scheduler.rounds import Rounds

FIRST, SECOND = (
    Delivery("q", "", "", "", name.encode(), name, False, 4, None, None, {}, None) for name in ("first", "second")
)


class _Inlet:
    """Gives one delivery a round."""

    def __init__(self, *waiting: Delivery) -> None:
        self.waiting = list(waiting)
        self.settled: list[Delivery] = []
        self.second_round = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def pick(self, limit: int) -> list[Delivery]:
        picked, self.waiting = self.waiting[:1], self.waiting[1:]
        if SECOND in picked:
            self.second_round.set()
        return picked if limit else []

    async def settle(self, deliveries: list[Delivery]) -> None:
        self.settled += deliveries


class _Store:
    """Lets the first round fail once the second one has begun."""

    def __init__(self, inlet: _Inlet) -> None:
        self._inlet = inlet
        self.applied: list[list[Delivery]] = []
        self.book_is_ahead = self.built_on_sand = False

    async def apply(self, work: Any) -> Any:
        self.built_on_sand |= self.book_is_ahead
        deliveries, _ = work(None)
        self.applied.append(deliveries.seen)
        if self.applied == [[FIRST]]:
            await self._inlet.second_round.wait()
            self.book_is_ahead = True
            raise RuntimeError("the write failed")
        return Effects()


class _Hung(_Inlet):
    """Never comes to the end of its settling."""

    async def settle(self, deliveries: list[Delivery]) -> None:
        if deliveries:
            await asyncio.Event().wait()


def rounds_over(store: Any, inlet: _Inlet, news: asyncio.Event) -> Any:
    def tick(_tx: object, deliveries: list[Delivery], *_: object, **__: object) -> Any:
        return SimpleNamespace(seen=list(deliveries)), None

    async def load() -> None:
        store.book_is_ahead = False

    async def room(_until: object) -> None: ...

    engine: Any = SimpleNamespace(book=SimpleNamespace(look_at=None), tick=tick, blame=lambda: None)
    emitter: Any = SimpleNamespace(take_confirmed=list, give_back=lambda _: None, emit=lambda *_: None, room=room)
    clock: Any = SimpleNamespace(now=lambda: datetime.now(UTC))
    reported, submitted = cast("Any", inlet), cast("Any", _Inlet())
    return Rounds(engine, store, clock, emitter, reported=reported, submitted=submitted, news=news, load=load)


async def test_no_round_is_built_on_one_that_has_just_failed() -> None:
    inlet, until, news = _Inlet(FIRST, SECOND), asyncio.Event(), asyncio.Event()
    store = _Store(inlet)
    running = asyncio.create_task(rounds_over(store, inlet, news).run(until))
    news.set()
    async with asyncio.timeout(5):
        while len(inlet.settled) < 2:
            await asyncio.sleep(0)
    until.set()
    news.set()
    await running
    assert not store.built_on_sand
    assert store.applied == [[FIRST], [FIRST], [SECOND]]


async def test_a_round_that_hangs_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_PATIENCE_S", 0.2)
    inlet, news = _Hung(SECOND), asyncio.Event()
    news.set()
    with pytest.raises(StoreUnavailable, match="given up"):
        async with asyncio.timeout(5):
            await rounds_over(_Store(inlet), inlet, news).run(asyncio.Event())
