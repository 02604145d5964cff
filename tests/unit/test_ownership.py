"""Which shards several schedulers take, keep and give up. Time is moved by hand; the store is real SQLite."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from desk import memory_engine
from warrener.errors import Fenced
from warrener.store import Store
from warrener.stores.sql import Inline, SqlStore
from warrener_services.scheduler.ownership import Ownership

SHARDS = 16
LEASE_S = 6.0


class Schedulers:
    """Schedulers on one store, and the clock that all of them read."""

    def __init__(self, store: Store) -> None:
        self.now_s = 0.0
        self._store = store
        self._lives = 0
        self.up: dict[str, Ownership] = {}

    def start(self, *names: str) -> None:
        for name in names:
            self._lives += 1
            self.up[name] = Ownership(self._store, name, f"life-{self._lives}", timedelta(seconds=LEASE_S))

    async def rounds(self, number: int = 3) -> None:
        """Let everybody look a few times, as their sessions do."""
        for _ in range(number):
            self.now_s += LEASE_S / 4
            for one in self.up.values():
                if not one.epochs or await one.keep():
                    await one.take()

    def owned(self) -> dict[str, set[int]]:
        return {name: set(one.epochs) for name, one in self.up.items()}

    async def assert_even(self) -> None:
        owners = Counter(row.owner for row in await self._store.read(lambda tx: tx.shards.all()))
        assert {name: len(shards) for name, shards in self.owned().items()} == dict(owners)
        assert max(owners.values()) - min(owners.values()) <= 1
        assert sum(owners.values()) == SHARDS


@pytest.fixture
async def store() -> Store:
    store = SqlStore(Inline(memory_engine()))
    await store.migrate(shards=SHARDS)
    return store


@pytest.fixture
async def schedulers(store: Store, monkeypatch: pytest.MonkeyPatch) -> Schedulers:
    made = Schedulers(store)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: made.now_s)
    return made


async def test_the_first_takes_everything(schedulers: Schedulers) -> None:
    schedulers.start("a")
    assert set(await schedulers.up["a"].take()) == set(range(SHARDS))


async def test_schedulers_that_come_get_their_share(schedulers: Schedulers) -> None:
    for number, name in enumerate("abcd"):
        schedulers.start(name)
        await schedulers.rounds()
        await schedulers.assert_even()
        assert len(schedulers.up) == number + 1


async def test_who_stops_leaves_its_share_at_once(schedulers: Schedulers) -> None:
    schedulers.start("a", "b", "c")
    await schedulers.rounds()
    await schedulers.up.pop("b").release()
    await schedulers.rounds(2)  # the second for what rendezvous order moves among those that stay
    await schedulers.assert_even()


async def test_the_shards_of_a_dead_scheduler_move_once_it_was_silent_for_a_lease(schedulers: Schedulers) -> None:
    schedulers.start("a", "b", "c")
    await schedulers.rounds()
    before = schedulers.owned()
    lost = schedulers.up.pop("b")
    await schedulers.rounds(3)  # not yet
    assert schedulers.owned() == {"a": before["a"], "c": before["c"]}
    await schedulers.rounds(3)  # within 9 s: see the setting
    await schedulers.assert_even()
    with pytest.raises(Fenced):
        await lost.keep()


async def test_a_frozen_scheduler_is_fenced_and_joins_again(schedulers: Schedulers) -> None:
    schedulers.start("a", "b", "c")
    await schedulers.rounds()
    frozen = schedulers.up.pop("c")
    had = set(frozen.epochs)
    await schedulers.rounds(6)
    with pytest.raises(Fenced, match="belong to another scheduler"):
        await frozen.keep()
    await frozen.take()  # its session ended, and the next one begins
    schedulers.up["c"] = frozen
    await schedulers.rounds()
    await schedulers.assert_even()
    assert set(frozen.epochs) == had  # rendezvous order has no history


async def test_who_was_frozen_does_not_think_that_the_others_were_silent(schedulers: Schedulers) -> None:
    schedulers.start("a", "b")
    await schedulers.rounds()
    frozen = schedulers.up.pop("a")
    for _ in range(3):
        await schedulers.rounds(1)
    schedulers.now_s += LEASE_S - 4.6  # its own silence is a lease now, and so is its view of the others
    await schedulers.up["b"].keep()
    await frozen.keep()
    assert frozen.others == {"b"}


async def test_a_pause_while_reading_is_not_the_silence_of_others(
    schedulers: Schedulers, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedulers.start("a", "b")
    await schedulers.rounds()
    transact = store.transact

    async def slow(work: Callable[..., object]) -> object:
        result = await transact(work)
        schedulers.now_s += 10 * LEASE_S  # stopped after the reading, before it could be thought about
        return result

    with monkeypatch.context() as patch:
        patch.setattr(store, "transact", slow)
        assert await schedulers.up["a"].keep() is False
    assert schedulers.up["a"].others == {"b"}


async def test_a_restarted_scheduler_has_its_shards_at_once(schedulers: Schedulers) -> None:
    schedulers.start("a", "b")
    await schedulers.rounds()
    had = set(schedulers.up["a"].epochs)
    schedulers.start("a")  # kill -9, and again
    await schedulers.rounds(1)
    assert set(schedulers.up["a"].epochs) == had


async def test_two_of_one_name_are_told_so(schedulers: Schedulers) -> None:
    schedulers.start("a")
    await schedulers.rounds()
    first = schedulers.up["a"]
    schedulers.start("a")
    await schedulers.rounds(1)
    with pytest.raises(Fenced, match="another scheduler is called a too; give each its own WARRENER_WORKER"):
        await first.keep()


async def test_more_schedulers_than_shards_stand_by(schedulers: Schedulers) -> None:
    names = [f"s{n}" for n in range(SHARDS + 2)]
    schedulers.start(*names)
    await schedulers.rounds(4)
    assert sorted(len(shards) for shards in schedulers.owned().values()) == [0, 0] + [1] * SHARDS


async def test_nothing_moves_without_a_reason(schedulers: Schedulers, store: Store) -> None:
    schedulers.start("a", "b", "c")
    await schedulers.rounds()
    before = [row.epoch for row in await store.read(lambda tx: tx.shards.all())]
    await schedulers.rounds(10)
    assert [row.epoch for row in await store.read(lambda tx: tx.shards.all())] == before
