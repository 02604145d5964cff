"""The storm itself: kill, pause, start again, and wait for new work to start, over and over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from .ledger import now_s
from .load import probe
from .places import Place
from .traffic import Sent, Traffic

NEW_WORK_WITHIN_S = 30.0
"""How long to wait for new work after a restart before the next kill; what takes longer counts as this."""

_LOOK_EVERY_S = 0.02


@dataclass(slots=True)
class Kill:
    """One kill. `start_s`: from the restart to the first start of work that was asked for after the kill."""

    name: str
    again_s: float
    start_s: float | None

    def __str__(self) -> str:
        took = "never" if self.start_s is None else f"{self.start_s:.2f} s"
        return f"{self.name} at {self.again_s:.1f}: {took}"


@dataclass(slots=True)
class Storm:
    """Kills the programs of a place under its traffic."""

    place: Place
    traffic: Traffic
    rng: Random
    calm_s: tuple[float, float] = (0.1, 1.5)
    """Between new work's start and the next kill."""
    away_s: tuple[float, float] = (0.0, 1.0)
    """How long a killed program stays away."""
    kills: list[Kill] = field(default_factory=list)

    async def rage(self, kills: int) -> None:
        """Kill so many times; gives up when new work does not start any more."""
        if await self._new_start("", 0.0, 0.0) is None:
            raise SystemExit(f"nothing started within {NEW_WORK_WITHIN_S:g} s; see the logs in {self.place.logs}")
        for _ in range(kills):
            await asyncio.sleep(self.rng.uniform(*self.calm_s))
            kill = await self._strike(self.rng.choice(self.place.targets))
            self.kills.append(kill)
            if kill.start_s is None:
                return

    async def _strike(self, name: str) -> Kill:
        killed_s = now_s()
        await asyncio.to_thread(self.place.kill, name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.traffic.one(probe(_PROBES.get(name, "jobs"), len(self.kills)), _WAYS.get(name, "")))
            await asyncio.sleep(self.rng.uniform(*self.away_s))
            again_s = now_s()
            await asyncio.to_thread(self.place.again, name)
            return Kill(name, again_s, await self._new_start(name, killed_s, again_s))

    async def _new_start(self, name: str, killed_s: float, again_s: float) -> float | None:
        """Wait for the first start of work that was asked for after the kill; return the seconds since the restart."""
        begun_s = now_s()
        while now_s() - begun_s < NEW_WORK_WITHIN_S:
            await asyncio.sleep(_LOOK_EVERY_S)
            first_s = self._first_new_start(name, killed_s, again_s)
            if first_s is not None:
                return max(0.0, first_s - again_s)
        return None

    def _first_new_start(self, name: str, killed_s: float, again_s: float) -> float | None:
        ledger = self.traffic.ledger
        ledger.look()
        moments = [
            start.at_s
            for start in ledger.since(again_s)
            if (sent := self.traffic.sent.get(start.run)) is not None and sent.asked_s >= killed_s  # type: ignore[call-overload]
            if _concerns(name, start.kind, sent)
        ]
        return min(moments, default=None)

    def figures(self) -> dict[str, float]:
        """Return the number of kills, and how soon new work started after the restarts."""
        seconds = sorted(NEW_WORK_WITHIN_S if kill.start_s is None else kill.start_s for kill in self.kills)
        if not seconds:
            return {"kills": 0}
        return {
            "kills": len(seconds),
            "restart_to_start_p50_s": round(seconds[len(seconds) // 2], 2),
            "restart_to_start_max_s": round(seconds[-1], 2),
        }


_PROBES = {"app": "calls", "data_staging": "stage", "env_setup": "env"}
_WAYS = {"gateway": "gateway"}


def _concerns(name: str, kind: str, sent: Sent) -> bool:
    """Tell whether a start proves that the killed program works again."""
    match name:
        case "job_submission":
            return kind == "job"
        case "app":
            return kind == "call"
        case "data_staging" | "env_setup":
            return sent.request.flavour == _PROBES[name]
        case "gateway":
            return sent.way == "gateway"
        case _:
            return True
