"""`warrener submit`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from warrener.errors import Overloaded
    from warrener.messages import Json
    from warrener.workflows import Definition

_EPILOG = r"""
[bold]A first workflow, hello.yaml[/bold]
  workflow: hello
  tasks:
    greet:
      job: {argv: \[echo, hello]}

[bold]Examples[/bold]
  warrener submit plots.yaml -p day=2026-11-21 --watch
  warrener submit plots.yaml --params july.yaml --key plots-july
  warrener submit plots.yaml --params july.yaml --key plots-july  # same run
  cat plots.yaml | warrener submit -

With --watch the exit code is 0 when the run succeeded, and 1 when it did not. Ctrl-C stops watching, not the run.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG, rich_help_panel="Runs")(submit)


def submit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow (YAML); - reads it from stdin.")],
    *,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; may be repeated.")
    ] = None,
    params: Annotated[Path | None, typer.Option(dir_okay=False, help="A YAML file of parameters.")] = None,
    key: Annotated[str | None, typer.Option(help="The same owner and key always give the same run.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose run it is; default: your user's name.")] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="9 goes first; overrides that of every task.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Watch the run until it ends.")] = False,
) -> None:
    """Submit a workflow; returns when the run is committed."""
    from .asked import read_definition, read_params

    definition = read_definition(file)
    values = read_params(definition, param or [], params)
    submit_definition(definition, values, key=key, owner=owner, priority=priority, watch=watch)


def submit_definition(
    definition: Definition,
    values: Mapping[str, Json] | None = None,
    *,
    key: str | None = None,
    owner: str | None = None,
    priority: int | None = None,
    watch: bool = False,
) -> None:
    """Submit a run, and say its id; with `watch`, show it to its end, which the exit code tells."""
    from warrener.client import Client

    from .screen import say, say_aside
    from .watching import watch_run

    with Client(on_busy=_Busy()) as client:
        run = client.submit(definition.definition, values, key=key, owner=owner, priority=priority)
        if not watch:
            say(f"{run.id}" if run.new else f"{run.id} (this key was submitted before: it is the same run)")
            if sys.stdout.isatty():
                say_aside(f"See how it goes: warrener status {run.id} --watch")
            return
        raise typer.Exit(watch_run(client, run.id))


class _Busy:
    """Says once why the gateway takes no more, and each time how long it is waited."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, error: Overloaded, pause_s: float) -> None:
        from .screen import say_aside

        if self._said:
            say_aside(f"Still so; waiting {pause_s:.0f} s.")
            return
        self._said = True
        say_aside(f"warrener: {error}")
        say_aside(f"Waiting {pause_s:.0f} s, then trying again; Ctrl-C gives up, and nothing was submitted.")
