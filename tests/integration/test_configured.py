"""What is configured reaches every program with an agent, also when the news gets lost, and nobody else can say it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fleet.process import free_port
from warrener.gossips import open_gossip
from warrener.gossips.agent import agent_of
from warrener.gossips.configured import NAME, TAG, Configuration, Follower, tell
from warrener.gossips.proved import proved
from warrener.gossips.serf import SerfGossip
from warrener.runtime.configured import take_over
from warrener.settings import Settings
from warrener.signing import make_keys, read_signer, read_verifier

WITHIN_S = 30.0


@pytest.fixture
def _levels() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)


class Program:
    """A program that follows."""

    def __init__(self, gossip: SerfGossip, keys: Path) -> None:
        self.taken: list[Mapping[str, str]] = []
        self.follower = Follower(gossip, read_verifier(keys), self.taken.append)


@asynccontextmanager
async def task(work: object) -> AsyncIterator[None]:
    running = asyncio.create_task(work)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def serf_at(settings: Settings) -> AsyncIterator[SerfGossip]:
    async with agent_of(settings) as told:
        gossip = open_gossip(told.gossip)
        assert isinstance(gossip, SerfGossip)
        try:
            yield gossip
        finally:
            await gossip.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.serf
async def test_a_change_reaches_programs_also_when_its_event_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warrener.gossips.configured.LOOK_EVERY_S", 0.3)
    here = f"127.0.0.1:{free_port()}"
    keys = tmp_path / "keys"
    make_keys(keys)
    make_keys(tmp_path / "stolen")
    first = Settings(state=tmp_path / "1", keys=keys, agent=here, agent_profile="local")
    second = Settings(
        state=tmp_path / "2", keys=keys, agent=f"127.0.0.1:{free_port()}", seeds=(here,), agent_profile="local"
    )
    table = [Configuration(version=0)]

    async def read() -> Configuration:
        return table[0]

    async with serf_at(first) as beside_gossip, serf_at(second) as beside_worker:
        program = Program(beside_worker, keys)
        async with task(tell(beside_gossip, read, read_signer(keys))), task(program.follower.run()):
            table[0] = Configuration(version=1, values={"log": "debug"})
            await until(lambda: program.taken == [{"log": "debug"}])

            async def lose(name: str, payload: bytes) -> None:
                pass

            monkeypatch.setattr(beside_gossip, "announce", lose)
            table[0] = Configuration(version=2, values={})
            await until(lambda: program.taken == [{"log": "debug"}, {}])
            assert (await beside_gossip.told())[TAG] == "2"

            with capture_logs() as logs:
                forged = Configuration(version=9, values={"log": "error"})
                await beside_worker.announce(NAME, proved(forged, read_signer(tmp_path / "stolen")))
                await until(lambda: "not signed with the orders.key" in str(logs))
            await beside_worker.announce(NAME, proved(Configuration(version=1), read_signer(keys)))
            table[0] = Configuration(version=3, values={"log": "error"})
            await until(lambda: program.taken[-1] == {"log": "error"})
            assert len(program.taken) == 3, "an old version and a forged one are passed over"
        late = Program(beside_worker, keys)
        async with task(tell(beside_gossip, read, read_signer(keys))), task(late.follower.run()):
            await until(lambda: late.taken == [{"log": "error"}])


@pytest.mark.usefixtures("_levels")
def test_the_level_of_logs_changes_and_comes_back() -> None:
    settings = Settings(log="warning")
    take_over(settings, {"log": "debug"})
    assert logging.getLogger().level == logging.DEBUG
    take_over(settings, {})
    assert logging.getLogger().level == logging.WARNING
    with capture_logs() as logs:
        take_over(settings, {"burrow": "deep"})
    assert "upgrade and restart" in str(logs)
