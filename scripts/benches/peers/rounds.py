"""Runs the systems in turns: A B C A B C …, each from a fresh start on the same servers, and alone on the machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benches.measures import latency, throughput
from benches.places import on_fleet
from fleet.process import FleetError, Process, descendants
from fleet.stack import Fleet

from .figures import NAMES, Figures, Row
from .systems import WARRENER, System

CHECKOUT = Path(__file__).resolve().parents[3]
ENVIRONMENT = CHECKOUT / ".warrener" / "peers"
_LIMIT_S = 120.0
"""For one system in one round; beyond it, something hangs."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured: at most `rounds`, and no further one that would probably end after `budget_s`."""

    rounds: int
    tasks: int
    singles: int
    budget_s: float

    def tasks_of(self, system: System) -> int:
        """Whole runs of a hundred, as Warrener submits them."""
        return max(100, round(self.tasks * system.share / 100) * 100)


async def measured(
    fleet: Fleet, systems: Sequence[System], extent: Extent, tell: Callable[[str], None]
) -> tuple[Row, ...]:
    """Measure all in turns. One that fails has no further rounds, and the others go on."""
    rows = {system.name: Row(system, extent.tasks_of(system)) for system in systems}
    begun, longest_s = time.monotonic(), 0.0
    for number in range(extent.rounds):
        since = time.monotonic()
        if since - begun + longest_s > extent.budget_s:
            tell(f"no time for round {number + 1} of {extent.rounds} within {extent.budget_s:g} s")
            break
        for name, row in rows.items():
            if not row.problem:
                rows[name] = further = await _next_round(fleet, row, number, extent)
                tell(f"round {number + 1}: {name}: {further.problem or _said(further.rounds[-1])}")
        longest_s = max(longest_s, time.monotonic() - since)
    return tuple(rows.values())


async def _next_round(fleet: Fleet, row: Row, number: int, extent: Extent) -> Row:
    measure = _of_warrener if row.system is WARRENER else _of_another
    try:
        async with asyncio.timeout(_LIMIT_S):
            figures = await measure(fleet, row, number, extent)
    except TimeoutError:
        return replace(row, problem=f"not done within {_LIMIT_S:g} s; its logs were in {fleet.folder}")
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever ails one of them, the others are measured
        return replace(row, problem=str(problem) or repr(problem))
    return replace(row, rounds=(*row.rounds, figures))


async def _of_warrener(fleet: Fleet, row: Row, _number: int, extent: Extent) -> Figures:
    broker, store = await asyncio.to_thread(_fresh, fleet)
    async with on_fleet(fleet, broker, store) as place:
        figures = {**await latency(place, extent.singles), **await throughput(place, row.tasks)}
    return Figures(**{name: figures[name] for name in NAMES})


async def _of_another(fleet: Fleet, row: Row, number: int, extent: Extent) -> Figures:
    program = ENVIRONMENT / "bin" / row.system.command[0]
    if not program.exists():
        missing = program.relative_to(CHECKOUT)
        raise FleetError(f"not installed: {missing} is missing; remove .warrener/peers and run: scripts/setup peers")
    broker, store = await asyncio.to_thread(_fresh, fleet)
    folder = fleet.folder / f"{row.system.name}-{number}"
    (folder / "tally").mkdir(parents=True)
    given = {
        "BENCH_BROKER": broker,
        "BENCH_TALLY": str(folder / "tally"),
        "BENCH_RESULTS": store.replace("postgresql://", "db+postgresql+psycopg2://") if row.system.results else "",
        "PYTHONPATH": str(CHECKOUT / "scripts"),
    }
    worker = Process.start(
        row.system.name, [program, *row.system.command[1:]], log=folder / "worker.log", env=given, cwd=folder
    )
    try:
        await _drive(worker, row, extent, folder, given)
    finally:
        await asyncio.to_thread(_end, worker)
    return Figures(**json.loads((folder / "figures").read_text()))


async def _drive(worker: Process, row: Row, extent: Extent, folder: Path, given: dict[str, str]) -> None:
    """Run the driver until it has written its figures."""
    command = [
        ENVIRONMENT / "bin" / "python", "-m", "benches.peers.driver", row.system.app, "--tasks", row.tasks,
        "--singles", extent.singles, "--worker", worker.pid, "--figures", folder / "figures",
    ]  # fmt: skip
    driver = Process.start(
        f"the driver of {row.system.name}", command, log=folder / "driver.log", env=given, cwd=folder
    )
    try:
        await asyncio.to_thread(worker.wait_until, lambda: not driver.running, timeout_s=_LIMIT_S)
        await asyncio.to_thread(driver.wait)
    finally:
        await asyncio.to_thread(_end, driver)


def _fresh(fleet: Fleet) -> tuple[str, str]:
    """Return the URLs of an empty virtual host and an empty database."""
    assert fleet.postgresql is not None
    return fleet.rabbitmq.fresh_vhost(), fleet.postgresql.create_database()


def _end(process: Process) -> None:
    """End a process, and any child that it leaves behind."""
    children = descendants(process.pid)
    process.stop(grace_s=10.0)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _said(figures: Figures) -> str:
    return (
        f"{figures.tasks_per_s:,.0f} tasks/s, {figures.cpu_s_per_1000:.2f} CPU s per 1,000,"
        f" start {figures.start_p50_ms:.1f} / {figures.start_p99_ms:.1f} ms"
    )
