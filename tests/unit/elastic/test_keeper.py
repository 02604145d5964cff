"""One pool, look after look: how it rests after trouble, and when all is well again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from owner import LoopClock
from warrener.brokers.memory import MemoryBroker
from warrener.brokers.memory_node import MemoryNode
from warrener.settings import Settings
from warrener_services.elastic.driver import Crew, DriverFailed
from warrener_services.elastic.picture import Picture
from warrener_services.elastic.rules import Pool, Processes
from warrener_services.elastic.service import _Keeper
from warrener_services.elastic.turn import Turn


class Hand:
    """A driver that counts how often it is asked. `fails`: what is wrong with it."""

    exclusive_to = "jobs"

    def __init__(self) -> None:
        self.looks = 0
        self.fails = ""

    async def look(self) -> Crew:
        self.looks += 1
        if self.fails:
            raise DriverFailed(self.fails)
        return Crew()

    async def scale(self, count: int, load: Mapping[str, int]) -> None:
        raise AssertionError("it is nobody's turn")


class Place:
    """A pool, and time that goes by in seconds."""

    def __init__(self, tmp_path: Path) -> None:
        self.now_s = 0.0
        self.driver = Hand()
        turn = Turn("jobs", "who", MemoryBroker(MemoryNode()), lambda: self.now_s)
        self.keeper = _Keeper(
            "jobs", Pool(serves=("job",), maximum=3, processes=Processes()), self.driver,
            Settings(state=tmp_path, host="here"), clock=LoopClock(), picture=Picture(0.0), turn=turn,
        )  # fmt: skip

    async def wait(self, seconds: int) -> list[float]:
        """Let time go by, with a look every second; return when the driver was asked."""
        asked = []
        for _ in range(seconds):
            before, self.now_s = self.driver.looks, self.now_s + 1
            await self.keeper.look(self.now_s)
            asked += [self.now_s] * (self.driver.looks - before)
        return asked

    @property
    def trouble(self) -> str:
        return self.keeper.word("who").trouble


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_it_rests_longer_each_time(place: Place) -> None:
    place.driver.fails = "the pond is frozen"
    assert await place.wait(220) == [1, 6, 16, 36, 76, 136, 196]


async def test_trouble_that_comes_again_at_once_is_one_trouble(place: Place) -> None:
    """Workers that die at their start: they are started after every rest, and it looks well until they have died."""
    for _ in range(3):
        place.driver.fails = "jobs-here-1 ended with 2"
        await place.wait(1)
        place.driver.fails = ""
        await place.wait(25)
        assert place.trouble == "jobs-here-1 ended with 2"
    await place.wait(60)
    assert place.trouble == ""
    place.driver.fails = "something else"
    began_s = place.now_s
    assert [at_s - began_s for at_s in await place.wait(6)] == [1, 6]  # the rests begin anew


async def test_trouble_that_ends_while_it_is_told_is_told_to_be_over(place: Place) -> None:
    place.driver.fails = "the pond is frozen"
    await place.wait(1)
    alert = place.keeper.alert()
    assert alert is not None
    place.driver.fails = ""
    await place.wait(60)
    place.keeper.alerted(alert)
    over = place.keeper.alert()
    assert over is not None
    assert over.over
