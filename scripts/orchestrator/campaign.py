"""A campaign: submit a load at a rate, follow every run to its end, and balance the books."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from warrener.ids import RunId

from .accounts import Books
from .client import Orchestrator
from .load import Request, Shape, requests, workflow

ASK_EVERY_S = 3.0
"""How often to ask for the state of runs whose events did not come: a lost event is no lost run."""


async def campaign(orchestrator: Orchestrator, shape: Shape, *, rate: float, timeout_s: float, rng: Random) -> Books:
    """Carry a load through; returns when every accepted run has ended, or the time is over."""
    books = Books()
    definition, load = workflow(shape.ledger, whole=shape.whole), list(requests(shape, rng))
    heard = asyncio.Event()
    listening = asyncio.create_task(_listen(orchestrator, books, heard))
    try:
        async with asyncio.timeout(timeout_s):
            await _submit(orchestrator, definition, load, books, rate)
            await _until_ended(orchestrator, definition, load, books, heard)
    except TimeoutError:
        pass  # what is open by now is lost; the books say so
    finally:
        listening.cancel()
    if shape.ledger and Path(shape.ledger).exists():
        books.starts = Counter(await asyncio.to_thread(lambda: Path(shape.ledger).read_text().split()))
    return books


async def _submit(
    orchestrator: Orchestrator, definition: dict[str, Any], load: list[Request], books: Books, rate: float
) -> None:
    """Submit one after the other at the rate, without waiting for the answers in between."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number, request in enumerate(load):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            books.open(request.run.key, request.expected)
            tasks.create_task(_one(orchestrator, definition, request, books))


async def _one(orchestrator: Orchestrator, definition: dict[str, Any], request: Request, books: Books) -> None:
    for _ in range(2 if request.twice else 1):
        (answer,) = await orchestrator.submit(definition, [request.run])
        if answer.run is None:
            raise SystemExit(f"{request.run.key} was refused: {'; '.join(answer.problems)}")
        books.accepted(answer.key, answer.run, answer.state)
    if request.cancel:
        await orchestrator.cancel([RunId(run) for run in books.accounts[request.run.key].runs])


async def _until_ended(
    orchestrator: Orchestrator, definition: dict[str, Any], load: list[Request], books: Books, heard: asyncio.Event
) -> None:
    """Wait for the events; now and then ask for the state of what is still open, by submitting it again."""
    by_key = {request.run.key: request.run for request in load}
    while books.open_keys():
        with suppress(TimeoutError):
            async with asyncio.timeout(ASK_EVERY_S):
                while books.open_keys():
                    await heard.wait()
                    heard.clear()
        if still_open := books.open_keys():
            for answer in await orchestrator.submit(definition, [by_key[key] for key in still_open[:200]]):
                if answer.run is not None:
                    books.accepted(answer.key, answer.run, answer.state)


async def _listen(orchestrator: Orchestrator, books: Books, heard: asyncio.Event) -> None:
    while True:
        event = await orchestrator.heard.get()
        books.seen(event.key, event.state)
        heard.set()
