"""Stage tasks: bring files into a run's folder, and results out of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from warrener.errors import Cause, TaskFailed
from warrener.ids import AttemptRef
from warrener.messages import MAX_OUTPUT_BYTES, Json, Kind
from warrener.performer import Assignment
from warrener.sections import StageItem, StageSection
from warrener.transfer import Transfer, Transferred

AT_ONCE = 4
"""Items of one task that travel at the same time."""


class StagePerformer:
    """Performs stage tasks with the transfers given, by the scheme of their URLs.

    Repeating is harmless: whatever arrives replaces what was there in one step.
    """

    kind = Kind.STAGE

    def __init__(self, transfers: Mapping[str, Transfer]) -> None:
        self._transfers = transfers

    async def perform(self, assignment: Assignment) -> Json:
        items = _checked(assignment.order.body)
        folder = assignment.site.run_folder(assignment.order.run)
        arrived = await self._bring_all(items, folder, assignment)
        return _output(items, arrived, folder)

    async def extended(self, assignment: Assignment) -> None:
        """Nothing outlives the worker, so nothing needs the lease."""

    async def recover(self) -> Sequence[Assignment]:
        return ()

    async def forget(self, ref: AttemptRef) -> None:
        """Nothing is kept about an attempt; files stay with their run."""

    async def _bring_all(
        self, items: Sequence[StageItem], folder: Path, assignment: Assignment
    ) -> Sequence[Transferred]:
        """Bring all items, some at once; the first failure stops the others and is raised."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def in_turn(item: StageItem) -> Transferred:
            async with turns:
                arrived = await self._bring(item, folder)
            assignment.log(
                "stdout",
                f"staged {_shown(item.source)} to {item.to}: {size_text(arrived.size_bytes)},"
                f" sha256 {arrived.sha256}\n",
            )
            return arrived

        try:
            async with asyncio.TaskGroup() as group:
                bringing = [group.create_task(in_turn(item)) for item in items]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        return [one.result() for one in bringing]

    async def _bring(self, item: StageItem, folder: Path) -> Transferred:
        remote = item.source if item.incoming else item.to
        scheme = remote.partition(":")[0]
        transfer = self._transfers.get(scheme)
        if transfer is None:
            known = ", ".join(f"{name}:" for name in sorted(self._transfers))
            raise TaskFailed(Cause.REFUSED, f"this worker knows {known}, not {scheme}:")
        if item.incoming:
            return await transfer.fetch(item.source, folder / item.to, sha256=item.sha256, progress=_unheard)
        return await transfer.deliver(folder / item.source, item.to, progress=_unheard)


def size_text(size_bytes: int) -> str:
    """Spell a size for people: `48.2 kB`."""
    size, units = float(size_bytes), iter(("kB", "MB", "GB", "TB"))
    if size < 1000:  # noqa: PLR2004
        return f"{size_bytes} B"
    unit = ""
    while size >= 1000 and unit != "TB":  # noqa: PLR2004
        size, unit = size / 1000, next(units)
    return f"{size:.1f} {unit}"


def _shown(place: str) -> str:
    """Spell a source for people: what follows a `?` on the web may be a signature."""
    return place.partition("?")[0] if place.startswith("http") else place


def _unheard(_bytes: int) -> None:
    """Nobody watches a transfer yet."""


def _checked(body: Mapping[str, Json]) -> Sequence[StageItem]:
    try:
        items = StageSection.model_validate(dict(body)).items
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(step) for step in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise TaskFailed(Cause.REFUSED, f"this cannot be staged: {faults}") from error
    twice = [to for to, count in Counter(item.to for item in items).items() if count > 1]
    if twice:
        raise TaskFailed(Cause.REFUSED, f"two files go to {twice[0]}: give each a name of its own")
    return items


def _output(items: Sequence[StageItem], arrived: Sequence[Transferred], folder: Path) -> Json:
    """Describe what arrived; of very many files, as many as an output holds, and the number of the rest."""
    files: list[Json] = []
    room_bytes = MAX_OUTPUT_BYTES - 8192
    for item, there in zip(items, arrived, strict=True):
        place = {"path": item.to} if item.incoming else {"url": item.to}
        file = {**place, "size_bytes": there.size_bytes, "sha256": there.sha256}
        room_bytes -= len(json.dumps(file)) + 2
        if room_bytes < 0:
            return {"files": files, "omitted": len(items) - len(files), "folder": str(folder)}
        files.append(file)
    return {"files": files, "folder": str(folder)}
