"""The traffic under a storm: runs submitted at a rate, each followed in the store until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from orchestrator.accounts import Books
from warrener.errors import StoreUnavailable
from warrener.ids import RunId
from warrener.runs import FINAL
from warrener.states import State
from warrener.store import RunRow, Store, TaskRow

from .clients import Client
from .ledger import Ledger, now_s
from .load import Definition, Request

_LOOK_EVERY_S = 0.3


@dataclass(slots=True)
class Sent:
    """A run that was accepted: what it was, by which way it came, and when it was asked for."""

    request: Request
    way: str
    asked_s: float


@dataclass(slots=True)
class Traffic:
    """Submits and follows; `books` and `sent` are what it knows."""

    clients: Mapping[str, Client]
    store: Store
    definitions: Mapping[str, Definition]
    ledger: Ledger
    rng: Random
    books: Books = field(default_factory=Books)
    sent: dict[RunId, Sent] = field(default_factory=dict)
    last_attempt: dict[tuple[str, str], int] = field(default_factory=dict)
    """Of the tasks that succeeded; known after the audit."""

    async def flow(self, load: Iterator[Request], *, rate: float, stop: asyncio.Event) -> None:
        """Submit at a rate until told to stop, then return when every run is accepted."""
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                tasks.create_task(self.one(next(load)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(1 / rate):
                        await stop.wait()

    async def one(self, request: Request, way: str = "") -> None:
        """Submit one run, perhaps twice, and cancel it if it is one of those."""
        way = way or self.rng.choice(sorted(self.clients))
        client, asked_s = self.clients[way], now_s()
        self.books.open(request.run.key, request.expected)
        for _ in range(2 if request.twice else 1):
            run = await client.submit(self.definitions[request.flavour], request.run)
            self.sent[run] = Sent(request, way, asked_s)
            self.books.accepted(request.run.key, run, "accepted")
        if request.cancel:
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            await client.cancel(run)

    async def follow(self) -> None:
        """Look at what is open, for ever; an end that was seen once is looked at again in the audit."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Note the ends that the store has."""
        still_open = set(self.books.open_keys())
        ids = [run for run, sent in self.sent.items() if sent.request.run.key in still_open]
        with suppress(StoreUnavailable):
            for row in (await self.store.read(lambda tx: tx.runs.load(ids))).values():
                self.books.seen(row.key, row.state)

    async def ended(self) -> None:
        """Return when nothing is open any more."""
        while self.books.open_keys():  # noqa: ASYNC110 - what is waited for is in the store
            await asyncio.sleep(_LOOK_EVERY_S)

    async def audit(self) -> list[str]:
        """Compare the store with what was seen; return a sentence for each thing that is not as it should be."""
        self.ledger.look()
        self.books.starts = self.ledger.of_attempts()
        said = self.books.complaints()
        for run, sent in self.sent.items():
            row, tasks = await self.store.read(lambda tx, run=run: (tx.runs.load([run]).get(run), tx.tasks.of_run(run)))  # type: ignore[misc]
            said += self._judge(run, sent, row, tasks)
        return said

    def taken_back(self, restarts_s: Sequence[float]) -> int:
        """Count the long jobs that ran through a restart of their worker and ended well under the same attempt."""
        count = 0
        for start in self.ledger.starts:
            sent = self.sent.get(RunId(start.run))
            if sent is not None and start.kind == "job" and start.task == "second":
                seconds = float(str(sent.request.run.params["seconds"]))
                through = any(start.at_s < again_s < start.at_s + seconds for again_s in restarts_s)
                count += through and self.last_attempt.get((start.run, start.task)) == start.attempt
        return count

    def _judge(self, run: RunId, sent: Sent, row: RunRow | None, tasks: Sequence[TaskRow]) -> list[str]:
        if row is None:
            return [f"run {run} was accepted and is not in the store"]
        self.books.seen(row.key, row.state)
        open_tasks = [f"{task.name} {task.state}" for task in tasks if row.state in FINAL and task.finished_at is None]
        said = [f"run {run} has ended as {row.state}, and not its tasks: {', '.join(open_tasks)}"] if open_tasks else []
        for task in tasks:
            if task.state is State.SUCCEEDED:
                self.last_attempt[run, task.name] = task.attempt
            once = sent.request.flavour == "calls" and task.name == "fourfold"
            starts = self.ledger.of_calls(run, task.name) if once else 0
            if starts > task.attempt:
                self.books.starts[f"{run}/{task.name}"] = starts
                said.append(f"the call {task.name} of run {run} started {starts} times in {task.attempt} attempts")
        return said

    async def stuck(self) -> list[str]:
        """Say how the runs stand that have not ended."""
        still_open, said = set(self.books.open_keys()), []
        for run, sent in self.sent.items():
            if sent.request.run.key in still_open:
                tasks = await self.store.read(lambda tx, run=run: tx.tasks.of_run(run))  # type: ignore[misc]
                said.append(f"{run} {sent.request.flavour}: {'; '.join(map(_shown, tasks)) or 'not taken up'}")
        return said


def _shown(task: TaskRow) -> str:
    return f"{task.name} {task.state} attempt {task.attempt} worker {task.worker} due {task.due_at}"
