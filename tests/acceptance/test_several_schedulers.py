"""Several schedulers as real processes under load: they spread, one is killed, frozen, comes back; nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random, SystemRandom

import pytest

from storms.campaign import traffic_on
from storms.ledger import now_s
from storms.load import requests
from storms.places import PACE, FleetPlace
from storms.traffic import Traffic
from warrener.errors import StoreUnavailable
from warrener.settings import Settings

SHARDS = 64
MOVED_WITHIN_S, END_WITHIN_S = 10.0, 60.0
JOINED_WITHIN_S = 60.0  # with the start of a process, on a machine that may be busy
RATE_PER_S = 4.0
SEED = int(os.environ.get("WARRENER_TEST_SEED") or SystemRandom().randrange(10**6))
THREE = ("scheduler", "scheduler@2", "scheduler@3")

pytestmark = [pytest.mark.rabbitmq, pytest.mark.postgresql, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[FleetPlace]:
    """Lend a fleet with the shard lease that people have; its folder stays when a test has failed."""
    failed_before = request.session.testsfailed
    folder = Path(tempfile.mkdtemp(prefix="warrener-schedulers-"))
    folder.chmod(0o755)
    lease = f"{Settings.model_fields['shard_lease'].default.total_seconds():g}s"
    with FleetPlace(folder / "fleet", {**PACE, "WARRENER_SHARD_LEASE": lease}) as place:
        place.fleet.start(*THREE[1:])
        yield place
    if request.session.testsfailed == failed_before:
        shutil.rmtree(folder)


class Owners:
    """Who owns how many shards, as the store has it."""

    def __init__(self, traffic: Traffic) -> None:
        self._store = traffic.store

    async def spread(self) -> Counter[str | None]:
        try:
            rows = await self._store.read(lambda tx: tx.shards.all())
        except StoreUnavailable:  # nobody has made the tables yet
            return Counter()
        return Counter(row.owner for row in rows)

    async def even_over(self, *programs: str, within_s: float) -> float:
        """Wait until these own everything, each as much as the others; return how long that took."""
        names, begun_s = {program.replace("@", "-") for program in programs}, now_s()
        while True:
            spread = await self.spread()
            took_s = now_s() - begun_s
            if spread.keys() == names and max(spread.values()) - min(spread.values()) <= 1:
                return took_s
            assert took_s < within_s, f"after {took_s:.1f} s: {dict(spread)}, WARRENER_TEST_SEED={SEED}"
            await asyncio.sleep(0.05)  # other processes' rows announce nothing


@asynccontextmanager
async def under_load(place: FleetPlace, folder: Path, owner: str) -> AsyncIterator[Owners]:
    """Three schedulers with traffic; in the end everything that was accepted must have ended as it should, once."""
    rng = Random(f"{SEED} {owner}")
    async with traffic_on(place, folder, rng, owner=owner) as traffic:
        owners = Owners(traffic)
        await owners.even_over(*THREE, within_s=JOINED_WITHIN_S)
        over = asyncio.Event()
        flowing = asyncio.create_task(traffic.flow(requests(rng, ("jobs", "calls")), rate=RATE_PER_S, stop=over))
        try:
            yield owners
        finally:
            over.set()
            await asyncio.wait([flowing], timeout=END_WITHIN_S)
            flowing.cancel()
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await traffic.ended()
        except TimeoutError:
            pass  # the books say what is open
        stuck = await traffic.stuck()
        complaints = await traffic.audit() + stuck
        assert not complaints, f"WARRENER_TEST_SEED={SEED}, logs in {place.logs}\n" + "\n".join(complaints)
        assert len(traffic.sent) > RATE_PER_S


async def test_the_shards_of_a_killed_scheduler_move_within_10_s(place: FleetPlace, tmp_path: Path) -> None:
    async with under_load(place, tmp_path, "killed") as owners:
        await asyncio.sleep(2)  # work in flight everywhere
        await asyncio.to_thread(place.kill, "scheduler@2")
        took_s = await owners.even_over("scheduler", "scheduler@3", within_s=MOVED_WITHIN_S)
        print(f"moved within {took_s:.1f} s")  # noqa: T201 - worth having in the report
        await asyncio.sleep(3)
        await asyncio.to_thread(place.again, "scheduler@2")
        await owners.even_over(*THREE, within_s=JOINED_WITHIN_S)


async def test_a_frozen_scheduler_is_fenced_and_joins_again(place: FleetPlace, tmp_path: Path) -> None:
    async with under_load(place, tmp_path, "frozen") as owners:
        await asyncio.sleep(2)
        begins = len(place.fleet.log_of("scheduler@3"))
        os.kill(place.fleet.pid("scheduler@3"), signal.SIGSTOP)
        try:
            await owners.even_over("scheduler", "scheduler@2", within_s=MOVED_WITHIN_S)
            await asyncio.sleep(4)
        finally:
            os.kill(place.fleet.pid("scheduler@3"), signal.SIGCONT)
        took_s = await owners.even_over(*THREE, within_s=JOINED_WITHIN_S)
        said = place.fleet.log_of("scheduler@3")[begins:]
        (told,) = [line for line in said.splitlines() if "beginning again from the store" in line][:1]
        assert "belong to another scheduler by now" in told or "is not available" in told, told
        print(f"back within {took_s:.1f} s: {told}")  # noqa: T201


async def test_a_fourth_scheduler_gets_its_share_and_gives_it_back(place: FleetPlace, tmp_path: Path) -> None:
    async with under_load(place, tmp_path, "fourth") as owners:
        await asyncio.to_thread(place.fleet.start, "scheduler@4")
        try:
            came_s = await owners.even_over(*THREE, "scheduler@4", within_s=JOINED_WITHIN_S)
            await asyncio.sleep(3)
        finally:
            await asyncio.to_thread(place.fleet.stop, "scheduler@4")
        left_s = await owners.even_over(*THREE, within_s=JOINED_WITHIN_S)
        print(f"joined within {came_s:.1f} s, left within {left_s:.1f} s")  # noqa: T201
