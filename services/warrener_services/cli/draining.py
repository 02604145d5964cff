"""`warrener drain` and `undrain`: keep work away from a worker or a host, and let it come again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from warrener.client import Client
    from warrener.views import WorkerView

_PANEL = "Programs"
_LOOK_EVERY_S = 0.5
_OVER = ("drained", "gone")

TheName = Annotated[str, typer.Argument(metavar="NAME", help="A worker's name, as `warrener workers` shows it.")]
OfHost = Annotated[bool, typer.Option("--host", help="NAME is a host: all its workers, also those to come.")]

_DRAIN = """\
[bold]Examples[/bold]
  warrener drain job-submission-3 --reason "new disk"
  warrener drain --host node7 --wait && ssh node7 reboot

It gets nothing new, and what runs there ends as planned. It stays drained when it restarts.
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_DRAIN, rich_help_panel=_PANEL)(drain)
    app.command(rich_help_panel=_PANEL)(undrain)


def drain(
    name: TheName,
    *,
    host: OfHost = False,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return when nothing runs there any more.")] = False,
) -> None:
    """Give a worker or a host no more work."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        client.drain(name, host=host, reason=reason)
        if wait:
            _wait(client, name, host=host)
            say(f"{_called(name, host=host)} is drained: nothing runs there.")
        else:
            say(f"{_called(name, host=host)} gets no more work; what runs there ends as planned.")


def undrain(name: TheName, *, host: OfHost = False) -> None:
    """Let a drained worker or host work again."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        client.undrain(name, host=host)
    say(f"{_called(name, host=host)} gets work again.")


def _called(name: str, *, host: bool) -> str:
    return f"Host {name}" if host else f"Worker {name}"


def _wait(client: Client, name: str, *, host: bool) -> None:
    """Wait until nobody there has anything in hand; Ctrl-C leaves it draining."""
    from .screen import say_aside

    told = ""
    while True:
        there = [one for one in client.workers() if (one.host if host else one.name) == name]
        busy = [one for one in there if one.state not in _OVER]
        if not busy:
            return
        says = ", ".join(map(_says, busy))
        if says != told:
            say_aside(f"waiting: {says}")
            told = says
        time.sleep(_LOOK_EVERY_S)


def _says(worker: WorkerView) -> str:
    if worker.state == "silent":
        return f"{worker.name} is silent; what it runs is not known"
    return f"{worker.name} has {worker.attempts or 'something'} in hand"
