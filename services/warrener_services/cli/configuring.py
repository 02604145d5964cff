"""`warrener config`: what can change while programs run."""

from __future__ import annotations

from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/bold]
  warrener config set log debug     # every program with an agent, within seconds
  warrener config list
  warrener config unset log         # as each program's own WARRENER_LOG says

Other settings are read once, when a program starts.
"""

config = typer.Typer(
    help="Change settings of all programs while they run.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
)

TheName = Annotated[str, typer.Argument(metavar="NAME", help="A setting, such as log.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(config, name="config", rich_help_panel="Programs")


@config.command("list")
def list_configured(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what is configured."""
    from warrener.client import Client

    from .screen import ago, say, show_table

    with Client() as client:
        found = client.configuration()
    if as_json:
        say("[" + ",\n ".join(one.model_dump_json() for one in found) + "]")
    elif not found:
        say("Nothing is configured: every program lives by its own settings.")
    else:
        show_table(
            ("NAME", "VALUE", "VERSION", "CHANGED"),
            [(one.name, one.value, str(one.version), ago(one.at)) for one in found],
            right=("VERSION",),
        )


@config.command("set")
def set_value(name: TheName, value: Annotated[str, typer.Argument(metavar="VALUE")]) -> None:
    """Configure a setting for all programs."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        done = client.configure(name.lower(), value)
    say(f"{done.name} is {done.value}, version {done.version}. Programs with an agent hear of it within seconds.")


@config.command("unset")
def unset(name: TheName) -> None:
    """Let each program's own setting hold again."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        done = client.configure(name.lower(), None)
    say(f"{done.name} is as each program's own settings say, version {done.version}.")
