"""`warrener logs`."""

from __future__ import annotations

from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/bold]
  warrener logs 01h8xk2m plot
  warrener logs 01h8xk2m plot --follow
  warrener logs 01h8xk2m plot --attempt 1 --stderr

What the task wrote to stdout goes to stdout, what it wrote to stderr to stderr. Control characters are left out.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG, rich_help_panel="Runs")(logs)


def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the first characters of one.")],
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's name.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Only what it wrote to stdout.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only what it wrote to stderr.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; default: the latest.")] = None,
) -> None:
    """Show what a task printed."""
    from warrener.client import Client

    from .printed import show_logs

    both = stdout == stderr
    streams = [name for name, wanted in (("stdout", stdout or both), ("stderr", stderr or both)) if wanted]
    with Client() as client:
        try:
            show_logs(client, run, task, streams=streams, attempt=attempt, follow=follow)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
