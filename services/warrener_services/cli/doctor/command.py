"""`warrener doctor`: the command alone, which loads nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/bold]
  warrener doctor
  warrener doctor --json | jq 'select(.health == "fault")'

Run it on the host and in the environment of the program that does not work. It changes nothing. The exit code is 1 when
something is at fault; warnings do not count.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG, rich_help_panel="Programs")(doctor)


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON each.")] = False) -> None:
    """Look at everything that a program needs, and say what is wrong and what to do."""
    from warrener.runtime.logs import configure_logs

    from .examination import examine

    configure_logs("error")  # what parts of programs log else is said by the findings
    raise typer.Exit(1 if examine(as_json=as_json) else 0)
