"""Replays of real executions, against list scheduling without overhead: a line of JSON for each file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warrener import replay as app
from warrener.errors import WarrenerError
from warrener.wfformat import Execution, read_execution, replay

from .list_scheduling import bound_s, list_schedule_s
from .places import App, Place

APP = App(app.worker, "warrener.replay", f"{app.APP}.wait", {"seconds": 0})


@dataclass(frozen=True, slots=True)
class Replay:
    """An execution, scaled so that no schedule on `slots` slots can take less than `bound_s`."""

    file: str
    workflow: dict[str, Any]
    tasks: int
    bound_s: float
    list_scheduling_s: float


def read_replays(files: Sequence[str], slots: int, bound: float) -> list[Replay]:
    """Read and scale every file before anything runs; ends the program with a sentence if one is wrong."""
    try:
        return [_scaled(file, read_execution(Path(file).read_text(encoding="utf-8-sig"), file), slots, bound)
                for file in files]  # fmt: skip
    except (OSError, UnicodeDecodeError, WarrenerError) as error:
        raise SystemExit(f"bench makespan: {error}") from error


def _scaled(file: str, execution: Execution, slots: int, bound: float) -> Replay:
    numbers = {task.id: n for n, task in enumerate(execution.tasks)}
    needs = [[numbers[need] for need in task.needs] for task in execution.tasks]
    lasted_s = [task.seconds for task in execution.tasks]
    least_s = bound_s(needs, lasted_s, slots)
    scale = bound / least_s if least_s else 1.0
    seconds = [task_s * scale for task_s in lasted_s]
    return Replay(
        file, replay(execution, time_scale=scale).definition(), len(needs), bound_s(needs, seconds, slots),
        list_schedule_s(needs, seconds, slots),
    )  # fmt: skip


async def makespans(place: Place, replays: Sequence[Replay], tell: Callable[[dict[str, Any]], None]) -> None:
    """Run one replay after another, from its submission until its end is heard, and tell the figures of each."""
    for number, one in enumerate(replays):
        tell(await _makespan(place, number, one))


async def _makespan(place: Place, number: int, one: Replay) -> dict[str, Any]:
    cpu_s, begun = place.cpu_s(), time.perf_counter()
    await place.run(one.workflow, f"makespan-{number}")
    seconds = time.perf_counter() - begun
    return {
        "file": Path(one.file).name,
        "tasks": one.tasks,
        "bound_s": round(one.bound_s, 3),
        "list_scheduling_s": round(one.list_scheduling_s, 3),
        "makespan_s": round(seconds, 3),
        "ratio": round(seconds / one.list_scheduling_s, 4) if one.list_scheduling_s else 0.0,
        "cpu_s": round(place.cpu_s() - cpu_s, 3),
    }
