"""`warrener serve worker`: several kinds in one process, on one budget of slots."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from importlib import import_module
from random import SystemRandom

from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.dividing import Bounds
from warrener.errors import InvalidSettings
from warrener.messages import PROGRAMS
from warrener.problems import meant
from warrener.runtime.health import OFF
from warrener.settings import Settings
from warrener.worker import Worker
from warrener.worker.several import Several

from .apps import load_apps

DEFAULT = "env,stage,job"
_KIND = re.compile(r"(?P<kind>[a-z0-9-]+)(?::(?P<least>\d{1,6})(?:-(?P<most>\d{1,6}))?)?")

Run = Callable[[Settings, Broker, Several], Awaitable[None]]


def read_kinds(text: str, apps: Sequence[str]) -> dict[str, Bounds]:
    """Read `env,stage:1-4,job:2` and the lanes of apps; raises InvalidSettings."""
    lanes: dict[str, Bounds] = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        match = _KIND.fullmatch(part)
        if match is None:
            raise InvalidSettings(
                f"--kinds: {part!r} is no kind; write a kind, with its least and most slots if wanted:"
                " job, job:2, job:2-8"
            )
        kind = match["kind"]
        lane = f"call.{kind}" if kind in apps else kind
        if lane not in PROGRAMS and kind not in apps:
            raise InvalidSettings(
                f"--kinds: there is no kind {kind!r}{meant(kind, [*PROGRAMS, *apps])}; there are"
                f" {', '.join([*PROGRAMS, *apps])}, and the apps of modules given with --app"
            )
        if lane in lanes:
            raise InvalidSettings(f"--kinds: {kind} is there twice")
        lanes[lane] = _bounds(match["least"], match["most"])
    lanes |= {f"call.{app}": Bounds() for app in apps if f"call.{app}" not in lanes}
    if not lanes:
        raise InvalidSettings(f"--kinds: name a kind at least, for example --kinds {DEFAULT}")
    return lanes


def _bounds(least: str | None, most: str | None) -> Bounds:
    usual = Bounds()
    return Bounds(usual.least if least is None else int(least), usual.most if most is None else int(most))


def make_worker(kinds: str, app: Sequence[str], settle: timedelta, settings: Settings) -> Callable[[], Awaitable[None]]:
    """Check everything, and return what runs the kinds until cancelled. Raises InvalidSettings."""
    apps = load_apps(app)
    lanes = read_kinds(kinds, [one.app for one in apps])
    several = Several(lanes, settings.slots, settle=settle, rng=SystemRandom())
    runs = {lane: _run_of(lane, apps) for lane in lanes}

    async def run() -> None:
        broker = open_broker(settings.broker, name=f"worker-{settings.worker or settings.host}")
        try:
            async with asyncio.TaskGroup() as workers:
                dividing = workers.create_task(several.run(broker))
                async with asyncio.TaskGroup() as kinds_of_work:
                    for number, (lane, serve) in enumerate(runs.items()):
                        own = _named(settings, lane, first=number == 0)
                        kinds_of_work.create_task(_run(serve, own, broker, several), name=lane)
                dividing.cancel()  # all have ended, because they were drained
        finally:
            await broker.close()

    return run


async def _run(serve: Run, settings: Settings, broker: Broker, several: Several) -> None:
    await serve(settings, broker, several)


def _run_of(lane: str, apps: Sequence[Worker]) -> Run:
    if lane in PROGRAMS:
        run: Run = import_module(f"warrener_services.{PROGRAMS[lane]}.__main__").run
        return run
    return next(app.serve for app in apps if lane == f"call.{app.app}")


def _named(settings: Settings, lane: str, *, first: bool) -> Settings:
    """Give each kind a worker's name of its own; an address for the health of the program is the first one's."""
    changed: dict[str, object] = {}
    if settings.worker:
        kind = lane.replace(".", "-")
        changed["worker"] = f"{kind}-{settings.worker}"[:64].strip("-")
    if settings.health and not first:
        changed["health"] = OFF
    return settings.model_copy(update=changed)
