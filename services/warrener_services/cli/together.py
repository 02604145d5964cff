"""`warrener up`: every program in one process, over the in-process broker and SQLite."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from warrener.async_client import AsyncClient
from warrener.broker import Broker
from warrener.brokers import open_broker
from warrener.errors import InvalidSettings, Unavailable
from warrener.messages import PROGRAMS
from warrener.runtime.health import OFF
from warrener.runtime.serve import serve
from warrener.runtime.watched import watched
from warrener.settings import Settings
from warrener.signing import make_keys
from warrener.worker import Worker

from .apps import load_apps
from .screen import say, say_aside

BROKER = "memory://"
_SERVICES = ("scheduler", "gossip", "gateway")
_WORKERS = tuple(PROGRAMS.values())
_LOOK_EVERY_S = 0.05
_GREETING_WAITS_S = 15.0


def run_together(app: Sequence[str], *, slots: int | None, state: Path | None, verbose: bool) -> int:
    """Run everything until Ctrl-C; return the exit code. Raises InvalidSettings."""
    settings = _settings(slots, state)
    apps = load_apps(app)
    with _alone(settings.state):
        make_keys(settings.keys_folder)
        level = "info" if verbose else "warning"
        return serve(
            lambda: _together(settings, apps), name="warrener up", stop_timeout=settings.stop_timeout, level=level
        )


def _settings(slots: int | None, state: Path | None) -> Settings:
    """Read the environment, but for what makes it one machine without servers."""
    given: dict[str, object] = {
        "broker": BROKER,
        "gossip": "static://",
        "agent": "",
        "join": "",
        "store": "",
        "worker": "",
    }
    if slots is not None:
        given["slots"] = slots
    if state is not None:
        given["state"] = state.absolute()
    for variable in ("WARRENER_BROKER", "WARRENER_STORE", "WARRENER_GOSSIP", "WARRENER_AGENT"):
        if os.environ.get(variable):
            say_aside(f"{variable} is not used here: `up` needs no servers; for a fleet there is `warrener serve`.")
    return Settings.read(**given)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the folder of state; raises InvalidSettings when another `up` works there."""
    path = state / "up.lock"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidSettings(
            f"cannot write to {state}: {error.strerror}; choose another folder with --state"
        ) from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = file.read().strip()
            who = f" (process {holder})" if holder.isdigit() else ""
            raise InvalidSettings(
                f"another `warrener up`{who} already works in {state}; use it, stop it with Ctrl-C, or choose another"
                " folder with --state"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


async def _together(settings: Settings, apps: Sequence[Worker]) -> None:
    """Run the programs; when it is time, the workers stop first, so that their last reports are heard."""
    quiet = settings.model_copy(update={"health": OFF})  # one process has one health
    async with _broker() as broker, watched(settings, "up", "up", broker=broker), asyncio.TaskGroup() as services:
        programs = [services.create_task(_run(name, quiet), name=name) for name in _SERVICES]
        services.create_task(_greet(settings, apps))
        async with asyncio.TaskGroup() as workers:
            programs += [workers.create_task(_run(name, quiet), name=name) for name in _WORKERS]
            programs += [workers.create_task(app.serve(quiet), name=app.app) for app in apps]
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                if not any(program.done() for program in programs):  # else one has failed, and its error is told
                    say("\nStopping; what runs has a moment to end. Ctrl-C again ends it at once.")
                raise


@asynccontextmanager
async def _broker() -> AsyncIterator[Broker]:
    """Keep the in-process broker alive while programs come and go."""
    broker = open_broker(BROKER, name="up")
    try:
        yield broker
    finally:
        await broker.close()


async def _run(service: str, settings: Settings) -> None:
    """Run a program; each has a connection of its own to the one broker of this process."""
    await import_module(f"warrener_services.{service}.__main__").run(settings)


# ── the greeting ────────────────────────────────────────────────────────────────────────────────────────────────


async def _greet(settings: Settings, apps: Sequence[Worker]) -> None:
    """Say where it listens and what to type next, once it works."""
    expected = len(_WORKERS) + len(apps)
    try:
        async with asyncio.timeout(_GREETING_WAITS_S), AsyncClient(settings.listen_url, token=settings.token) as client:
            while not await _works(client, expected):  # noqa: ASYNC110 - what is waited for lives behind a socket
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        say_aside("Not everything has started yet; --verbose shows what the programs say.")
    for line in greeting(settings, apps):
        say(line)
    sys.stdout.flush()


async def _works(client: AsyncClient, expected: int) -> bool:
    try:
        health = await client.health()
        return health.store and len(await client.workers()) >= expected
    except Unavailable:
        return False


def greeting(settings: Settings, apps: Sequence[Worker]) -> list[str]:
    """Write the screen of a started `up`."""
    default = Settings.model_fields["state"].get_default(call_default_factory=True)
    elsewhere = settings.state not in (default, Path(os.environ.get("WARRENER_STATE", default)))
    return [
        f"Warrener {version('warrener')} is up, with {settings.slots} slots for each kind of task.",
        "",
        f"  listens on  {settings.listen_url}",
        f"  keeps       {settings.state}",
        *(f"  serves      {app.app}: {_functions(app)}" for app in apps),
        "",
        "In another terminal:",
        "",
        *([f"  export WARRENER_STATE={settings.state}"] if elsewhere else []),
        "  warrener submit FILE --watch     run a workflow",
        "  warrener runs                    see what there is",
        "  warrener --help                  and what else you can do",
        "",
        "Ctrl-C stops it; what was accepted goes on at the next start.",
    ]


def _functions(app: Worker) -> str:
    names = [name.partition(".")[2] for name in app.functions]
    return ", ".join(names) or "no functions yet; mark some with @worker.function"
