"""A whole storm: a place, traffic on it, the kills, and the account at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from warrener.stores import open_store

from .clients import clients
from .ledger import Ledger
from .load import requests, workflows
from .places import PLACES, Place
from .storm import Kill, Storm
from .traffic import Traffic

_HOLD_JOBS = ("job_submission", "up")
END_WITHIN_S = 90.0
"""How long after the last kill everything may take to end; what is open then is lost."""


@dataclass(frozen=True, slots=True)
class Account:
    """What came out: figures for the one line, complaints for people."""

    figures: dict[str, float]
    complaints: list[str]
    kills: list[Kill]


async def storm_on(where: str, folder: Path, *, kills: int, seed: int, rate: float) -> Account:
    """Raise a storm on a place below a folder, and return its account."""
    place = PLACES[where](folder / where)
    begun = time.monotonic()
    await asyncio.to_thread(place.__enter__)
    try:
        ways, strikes, load = (Random(f"{what} {seed}") for what in ("ways", "strikes", "load"))
        async with traffic_on(place, folder, ways) as traffic:
            storm = Storm(place, traffic, strikes)
            await _carry_through(storm, kills, load, rate)
            return await _account(storm, time.monotonic() - begun)
    finally:
        await asyncio.to_thread(place.__exit__, None, None, None)


@asynccontextmanager
async def traffic_on(place: Place, folder: Path, rng: Random, *, owner: str = "storm") -> AsyncIterator[Traffic]:
    """Lend what submits to a place and follows what it submitted."""
    source = place.logs / "source.txt"
    source.write_text("rabbits\n")
    ledger = Ledger(folder / "ledger")
    store = open_store(place.settings.store_url)
    try:
        async with clients(place.settings, owner, rng) as ways:
            traffic = Traffic(ways, store, workflows(ledger.path, source), ledger, rng)
            following = asyncio.create_task(traffic.follow())
            try:
                yield traffic
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
    finally:
        await store.close()


async def _carry_through(storm: Storm, kills: int, rng: Random, rate: float) -> None:
    over = asyncio.Event()
    flowing = asyncio.create_task(storm.traffic.flow(requests(rng), rate=rate, stop=over))
    try:
        await storm.rage(kills)
        over.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN_S):
                await flowing
                await storm.traffic.ended()
    finally:
        flowing.cancel()
        with suppress(asyncio.CancelledError):
            await flowing


async def _account(storm: Storm, seconds: float) -> Account:
    traffic = storm.traffic
    stuck = await traffic.stuck()
    complaints = await traffic.audit() + stuck
    summary = traffic.books.summary(seconds)
    twice = sum(times > 1 for times in traffic.books.starts.values())
    summary["doubled"] -= twice
    summary["taken_back"] = traffic.taken_back([kill.again_s for kill in storm.kills if kill.name in _HOLD_JOBS])
    return Account({**storm.figures(), **summary, "started_twice": twice}, complaints, storm.kills)
