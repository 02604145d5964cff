"""`warrener parked`: messages that nobody could handle, and the way back for them."""

from __future__ import annotations

from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/bold]
  warrener parked list
  warrener parked show 7        # why, from where, and its body
  warrener parked replay 7      # publish it again
  warrener parked drop 7

A message is parked when it cannot be read, is not signed, or has failed three times.
"""

TheNumber = Annotated[int, typer.Argument(metavar="NUMBER", help="As `warrener parked list` shows it.", min=1)]

parked = typer.Typer(
    help="Look after messages that nobody could handle.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(parked, name="parked", rich_help_panel="Programs")


@parked.command("list")
def list_parked(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List parked messages, newest first."""
    from warrener.client import Client

    from .screen import ago, say, show_table

    with Client() as client:
        found = client.parked(limit=limit)
    if as_json:
        say("[" + ",\n ".join(message.model_dump_json() for message in found) + "]")
    elif not found:
        say("Nothing is parked.")
    else:
        show_table(
            ("NUMBER", "KIND", "CAME FROM", "PARKED", "WHY"),
            [(str(one.id), one.kind, f"{one.exchange} {one.routing_key}", ago(one.at), one.reason) for one in found],
            right=("NUMBER",),
        )


@parked.command()
def show(number: TheNumber) -> None:
    """Show a parked message with its body."""
    from warrener.client import Client

    from .screen import ago, one_line, say

    with Client() as client:
        message = client.parked_message(number)
    say(f"message  {message.id}, {message.kind}, {message.size_bytes} bytes, parked {ago(message.at)}")
    say(f"why      {one_line(message.reason, 1000)}")
    say(f"from     {message.exchange} {message.routing_key}")
    for name, value in message.headers.items():
        say(f"header   {one_line(name)}: {one_line(value)}")
    say()
    say(message.body)


@parked.command()
def replay(number: TheNumber) -> None:
    """Publish a parked message again to where it came from."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        message = client.replay(number)
    say(f"Message {message.id} was published again to {message.exchange} {message.routing_key}.")


@parked.command()
def drop(number: TheNumber) -> None:
    """Drop a parked message for good."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        message = client.drop(number)
    say(f"Message {message.id} was dropped.")
