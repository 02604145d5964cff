"""`warrener validate`: offline, every problem at once."""

from __future__ import annotations

from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/bold]
  warrener validate plots.yaml
  warrener validate --schema > workflow.schema.json      # for an editor

The exit code is 2 when something is wrong.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG, rich_help_panel="Runs")(validate)


def validate(
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="The workflow (YAML); - reads stdin.")] = None,
    *,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of workflows.")] = False,
) -> None:
    """Check a workflow without submitting it; names every problem with its line."""
    from .screen import say

    if schema:
        import json

        from warrener.workflow_schema import json_schema

        say(json.dumps(json_schema(), indent=2))
        return
    if file is None:
        raise typer.BadParameter("give the FILE of a workflow, or --schema")
    from .asked import read_definition

    definition = read_definition(file)
    tasks = definition.task_names
    say(f"{file} is right: workflow {definition.name}, {len(tasks)} task{'' if len(tasks) == 1 else 's'}.")
    required = [name for name, param in definition.params.items() if param.required]
    if required:
        say(f"It needs parameters: {' '.join(f'-p {name}=…' for name in required)}")
