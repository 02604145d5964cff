"""`warrener up`, `warrener serve`, `warrener keys`: the programs themselves."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from warrener.settings import Settings

_PANEL = "Programs"


class Service(StrEnum):
    """The programs of a fleet."""

    SCHEDULER = "scheduler"
    ENV_SETUP = "env_setup"
    DATA_STAGING = "data_staging"
    JOB_SUBMISSION = "job_submission"
    GOSSIP = "gossip"
    GATEWAY = "gateway"
    AGENT = "agent"
    WORKER = "worker"
    ELASTIC = "elastic"


_UP = """\
[bold]Examples[/bold]
  warrener up
  warrener up --app images --slots 4     # with the functions of images.py
  warrener up --state /tmp/try-it        # leaves no trace elsewhere

A module for --app has a worker: worker = warrener.Worker("images"), and functions marked @worker.function.
"""
_SERVE = """\
[bold]Examples[/bold]
  export WARRENER_BROKER=amqp://user:password@host/vhost
  export WARRENER_STORE=postgresql://user@host/warrener
  warrener serve scheduler
  WARRENER_SITE=cluster-a WARRENER_SLOTS=32 warrener serve job_submission
  WARRENER_SLOTS=16 warrener serve worker --kinds env:1-4,stage,job:2
  WARRENER_ELASTIC=elastic.yaml warrener serve elastic

`worker` serves several kinds in one process, whose slots move to where the backlog is; `job:2-8` bounds what jobs have.
`elastic` starts and stops workers by rules.

Start as many of each as you like, in any order. SIGTERM or Ctrl-C stops one as planned; a second one at once.
"""
_KEYS = """\
[bold]Example[/bold]
  warrener keys /etc/warrener/keys

Keys that are there stay; WARRENER_KEYS says where the folder is.

Schedulers need all of it, worker hosts only orders.pub (and gossip.key, with an agent of their own), clients that
submit by message only submit.key.
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_UP, rich_help_panel=_PANEL)(up)
    app.command(epilog=_SERVE, rich_help_panel=_PANEL)(serve)
    app.command(epilog=_KEYS, rich_help_panel=_PANEL)(keys)


def up(
    *,
    app: Annotated[
        list[str] | None,
        typer.Option("--app", metavar="MODULE[:WORKER]", help="Also serve the functions of this module's workers."),
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="How many tasks of each kind run at a time.")] = None,
    state: Annotated[
        Path | None, typer.Option(file_okay=False, help="The folder of everything; default: WARRENER_STATE.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the programs log.")] = False,
) -> None:
    """Run everything on this machine, in one process, with nothing else installed."""
    from .together import run_together

    raise typer.Exit(run_together(app or [], slots=slots, state=state, verbose=verbose))


def serve(
    service: Annotated[Service, typer.Argument(help="Which program to run.")],
    *,
    kinds: Annotated[
        str | None, typer.Option(metavar="KINDS", help="Of `worker`: what it serves; default: env,stage,job.")
    ] = None,
    app: Annotated[
        list[str] | None,
        typer.Option("--app", metavar="MODULE[:WORKER]", help="Of `worker`: serve the functions of this module too."),
    ] = None,
    settle: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of `worker`: how far apart shifts of slots are; default: 3s.")
    ] = None,
) -> None:
    """Run one program of a fleet, over RabbitMQ and a database."""
    from importlib import import_module

    from warrener.errors import InvalidSettings
    from warrener.runtime.serve import serve_program
    from warrener.settings import Settings

    settings = Settings.read()
    if settings.broker.startswith("memory:") and service is not Service.AGENT and not settings.join:
        raise InvalidSettings(
            "WARRENER_BROKER is not set, and programs of a fleet meet at a broker: set it to"
            " amqp://user:password@host/vhost; `warrener up` runs everything in one process without one"
        )
    name = f"warrener serve {service}"
    if service is Service.WORKER:
        raise typer.Exit(_serve_several(kinds, app or [], settle, settings, name))
    if kinds is not None or app or settle is not None:
        raise InvalidSettings(f"--kinds, --app and --settle are for `warrener serve worker`, not for {service}")
    program = import_module(f"warrener_services.{service}.__main__")
    if service is Service.AGENT:
        settings = program.prepared(settings)
    raise typer.Exit(serve_program(program.run, name=name, settings=settings))


def _serve_several(kinds: str | None, app: list[str], settle: str | None, settings: Settings, name: str) -> int:
    from warrener.errors import InvalidSettings
    from warrener.retries import read_duration
    from warrener.runtime.serve import serve_program
    from warrener.worker.several import SETTLE

    from .kinds import DEFAULT, make_worker

    try:
        pause = SETTLE if settle is None else read_duration(settle)
    except ValueError as error:
        raise InvalidSettings(f"--settle: {error}") from error
    run = make_worker(kinds or DEFAULT, app, pause, settings)
    return serve_program(lambda _: run(), name=name, settings=settings)


def keys(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make them in.", file_okay=False)],
) -> None:
    """Make the keys of a new deployment."""
    from warrener.errors import Refused
    from warrener.signing import make_keys

    from .screen import say

    try:
        make_keys(folder)
    except OSError as error:
        raise Refused(f"cannot make keys in {folder}: {error.strerror}") from error
    say(f"The keys of this deployment are in {folder}:")
    for name, what in _KEY_FILES:
        say(f"  {name:<11} {what}")
    say("Keep all but orders.pub secret; none of them can be made again.")


_KEY_FILES = (
    ("submit.key", "signs submissions: schedulers, and clients that submit by message"),
    ("claims.key", "proves who holds an attempt: schedulers"),
    ("orders.key", "signs orders: schedulers"),
    ("orders.pub", "checks orders: every worker host"),
    ("gossip.key", "encrypts gossip: every host with an agent of `warrener serve agent` or WARRENER_AGENT"),
)
