"""One campaign: a deployment, its traffic, the faults that a nemesis makes, and the books at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random

from .auditing import Eye, audit
from .check import Verdict, check
from .deployment import QUICK, Deployment
from .history import History, Line, now_s
from .load import Load, Request
from .traffic import Traffic, traffic_to

_LOOK_EVERY_S = 0.05
END_WITHIN_S = 150.0
"""How long after the last fault everything may take to end; what is open then is lost."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was told; a plan has defaults for what it was not told."""

    seed: int = 1
    trials: int | None = None
    short: bool = False
    minutes: float = 1.0
    lease_s: float | None = None
    serf: bool = True


@dataclass(slots=True)
class Campaign:
    """What a nemesis works with."""

    options: Options
    deployment: Deployment
    history: History
    traffic: Traffic
    load: Load
    rng: Random
    eye: Eye
    number: int = 0

    def trials(self, full: int, short: int) -> int:
        """Return how many trials to make."""
        return self.options.trials or (short if self.options.short else full)

    def begins(self, fault: str, target: str, **more: object) -> int:
        """Write down that a fault begins; return the number of the trial."""
        self.number += 1
        self.history.note("fault", name=fault, target=target, trial=self.number, **more)
        return self.number

    def over(self, fault: str, target: str, trial: int, **more: object) -> None:
        """Write down that a trial is over."""
        self.history.note("over", name=fault, target=target, trial=trial, **more)

    def figure(self, name: str, value: float | None, *, target: str, limit: float | None = None) -> None:
        """Write down what was measured; None: not seen within the time that there was."""
        shown = None if value is None else round(value, 3)
        self.history.note("figure", name=name, value=shown, target=target, limit=limit)

    def wrong(self, text: str, kind: str = "unexpected") -> None:
        """Write down what is wrong and no line of the history shows."""
        self.history.note("wrong", text=text, kind=kind)

    def mailed(self, host: str, since_s: float) -> float | None:
        """Return how long after a moment the first mail that names a host was handed over."""
        moments = [line["at"] for line in self.history.mails if line["at"] >= since_s and host in line["text"]]
        return min(moments) - since_s if moments else None

    async def first_start(
        self, right: Callable[[Line], bool], since_s: float, *, within_s: float = 30.0
    ) -> float | None:
        """Wait for a start of the right kind after a moment; return the seconds from then to it."""
        while True:
            self.history.look()
            moments = [line["at"] for line in self.history.since(since_s) if right(line)]
            if moments:
                return max(0.0, float(min(moments)) - since_s)
            if now_s() - since_s > within_s:
                return None
            await asyncio.sleep(_LOOK_EVERY_S)

    async def new_work(self, since_s: float, *, kind: str = "", host: str = "") -> float | None:
        """Wait until work starts that was asked for since a moment, of a kind or of any; on a host: any work."""

        def proves(line: Line) -> bool:
            if kind and line["kind"] != kind:
                return False
            if host:
                return bool(line["host"] == host)
            return self.traffic.accepted.get(line["run"], 0.0) >= since_s - 1

        return await self.first_start(proves, since_s)

    async def until(self, seen: Callable[[], Awaitable[bool]], *, within_s: float) -> float | None:
        """Wait until something is seen; return how long it took."""
        begun_s = now_s()
        while now_s() - begun_s < within_s:
            if await seen():
                return now_s() - begun_s
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def warm(self, *kinds: str) -> None:
        """Wait until every worker (of these kinds) has started something: before that, a fault would hit nothing."""
        wanted = {(kind, meadow.name) for kind in kinds or ("job", "call") for meadow in self.deployment.meadows}
        begun_s = now_s()
        while wanted:
            wanted -= {(line["kind"], line["host"]) for line in self.history.look()}
            if now_s() - begun_s > 150:
                raise SystemExit(f"nothing starts on {sorted(wanted)}; see the logs in {self.deployment.folder}")
            await asyncio.sleep(_LOOK_EVERY_S)


@dataclass(frozen=True, slots=True)
class Plan:
    """A kind of campaign: what it breaks, on what, under which traffic (runs per second)."""

    nemesis: Callable[[Campaign], Awaitable[None]]
    what: str
    minutes: float
    """How long it takes in full on two quiet cores."""
    meadows: int = 4
    short_meadows: int = 3
    desks: int = 2
    slots: int = 4
    rate: float = 8.0
    load: Callable[[Load, Options], Iterator[Request]] = lambda load, _: load.mixed()
    settings: Mapping[str, str] = field(default_factory=lambda: QUICK)
    short_settings: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Path], None] = lambda _folder: None
    """Called with the folder before anything starts."""
    surroundings: Callable[[Path, str], Mapping[str, str]] = lambda _folder, _host: {}
    single: bool = False
    """Whether no task may need a second attempt."""
    end_within_s: float = END_WITHIN_S


async def carry_out(name: str, plan: Plan, folder: Path, options: Options) -> Verdict:
    """Carry a campaign out below a folder, and judge its history."""
    meadows = plan.short_meadows if options.short else plan.meadows
    settings = {**plan.settings, **(plan.short_settings if options.short else {})}
    deployment = Deployment(
        folder, meadows=meadows, desks=plan.desks, slots=plan.slots, serf=options.serf, settings=settings,
        surroundings=plan.surroundings,
    )  # fmt: skip
    history = History(deployment.history)
    folder.mkdir(parents=True, exist_ok=True)
    history.note("campaign", name=name, seed=options.seed, single=plan.single, options=_told(options))
    plan.before(folder)
    await asyncio.to_thread(deployment.__enter__)
    try:
        await _play(plan, deployment, history, options)
    finally:
        await asyncio.to_thread(deployment.__exit__, None, None, None)
    return check(history.path)


async def _play(plan: Plan, deployment: Deployment, history: History, options: Options) -> None:
    ways, loads, strikes = (Random(f"{what} {options.seed}") for what in ("ways", "loads", "strikes"))
    async with _eye_on(deployment) as eye, traffic_to(deployment, history, ways) as traffic:
        load = Load(history.path, loads)
        campaign = Campaign(options, deployment, history, traffic, load, strikes, eye)
        begun = time.monotonic()
        if plan.rate:
            async with traffic.flowing(plan.load(load, options), rate=plan.rate):
                await campaign.warm()
                await plan.nemesis(campaign)
        else:
            await plan.nemesis(campaign)
        with suppress(TimeoutError):
            async with asyncio.timeout(plan.end_within_s):
                await eye.until_all_ended()
        await audit(deployment, history, eye)
        history.note("ended", faults=campaign.number, seconds=round(time.monotonic() - begun, 1))


def _told(options: Options) -> dict[str, object]:
    return {one.name: getattr(options, one.name) for one in fields(options)}


@asynccontextmanager
async def _eye_on(deployment: Deployment) -> AsyncIterator[Eye]:
    eye = Eye(deployment.postgresql.url)
    try:
        yield eye
    finally:
        await eye.close()
