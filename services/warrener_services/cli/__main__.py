"""The command `warrener`.

The modules of the commands import nothing heavy at their top: what a command needs is imported when it runs, so that
`warrener --help` answers at once.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from warrener.errors import Refused, WarrenerError

from . import (
    alerts,
    archive,
    configuring,
    draining,
    elastic,
    finding,
    health,
    importing,
    logs,
    parked,
    programs,
    runs,
    submitting,
    validating,
    workers,
)
from .doctor import command as doctor

_EPILOG = """\
[bold]A first run, in two terminals[/bold]
  warrener up
  warrener submit hello.yaml --watch

[bold]Settings are environment variables[/bold]
  WARRENER_STATE                     the folder of everything
  WARRENER_GATEWAY, WARRENER_TOKEN   where the gateway is
  WARRENER_BROKER, WARRENER_STORE    for a fleet: RabbitMQ and PostgreSQL
  WARRENER_GOSSIP, WARRENER_KEYS     and Serf, and the folder of its keys
"""

app = typer.Typer(
    name="warrener",
    help="Run workflows of tasks on whatever machines have room.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        from importlib.metadata import version

        typer.echo(f"warrener {version('warrener')}")
        raise typer.Exit


@app.callback()
def _top(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Say the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    pass


for _part in (
    submitting, runs, logs, validating, importing, programs, workers, draining, finding, configuring, health, elastic,
    parked, alerts, archive, doctor,
):  # fmt: skip
    _part.register(app)


def main() -> None:
    """Run a command; every deliberate error is one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # whoever reads a pipe wants to see what happens now
    try:
        app()
    except WarrenerError as error:
        _say_error(error)
        sys.exit(2 if isinstance(error, Refused) else 1)


def _say_error(error: WarrenerError) -> None:
    from .screen import say_aside

    first, *more = str(error).splitlines() or [type(error).__name__]
    if not more:
        say_aside(f"warrener: {first}")
        return
    say_aside(f"warrener: {len(more) + 1} problems")
    for line in (first, *more):
        say_aside(f"  {line}")


if __name__ == "__main__":
    main()
