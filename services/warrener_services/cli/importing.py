"""`warrener import`: what ran elsewhere becomes a workflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from warrener.wfformat import Execution

_EPILOG = """\
[bold]Examples[/bold]
  warrener import montage.json --time-scale 0.01 --output montage.yaml
  warrener import montage.json --time-scale 0.01 --submit --watch
  warrener import montage.json --real | warrener submit - --watch

WfFormat 1.5 is the JSON of wfcommons.org, which has hundreds of executions of scientific workflows.

Each task says with expect how long it lasts. It waits in a slot of the app replay, which takes next to nothing:
  warrener up --app warrener.replay --slots 32
  python -m warrener.replay               # a worker of it in a fleet

With --real each is a job, and sleeps as a process of its own.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import", epilog=_EPILOG, rich_help_panel="Runs")(import_)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An execution in WfFormat 1.5; - reads it from stdin.")],
    *,
    time_scale: Annotated[
        float, typer.Option(metavar="FACTOR", help="What run times are multiplied by: 0.01 makes a minute 0.6 s.")
    ] = 1.0,
    real: Annotated[bool, typer.Option("--real", help="Let tasks sleep as processes, not wait in a worker.")] = False,
    name: Annotated[str | None, typer.Option(help="The workflow's name; default: that of the execution.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write the workflow; default: stdout."),
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit it instead of writing it.")] = False,
    key: Annotated[str | None, typer.Option(help="With --submit: the same key always gives the same run.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="With --submit: watch the run until it ends.")] = False,
) -> None:
    """Make a workflow of an execution in WfFormat: its tasks last as long as they did."""
    from warrener.errors import InvalidWorkflow, Refused
    from warrener.problems import join
    from warrener.wfformat import replay
    from warrener.workflows import Definition

    from .submitting import submit_definition

    if submit and output is not None:
        raise Refused("--submit and --output: choose one; a written workflow can be submitted with `warrener submit`")
    if not submit and (watch or key is not None):
        raise Refused("--watch and --key go with --submit")
    if not 0 < time_scale <= 1e9:  # noqa: PLR2004 - a billion times longer is a typing error
        raise Refused(f"--time-scale {time_scale:g}: run times are multiplied by it; give a number above 0")
    execution = _read(file)
    workflow = replay(execution, time_scale=time_scale, real=real, name=name)
    definition = Definition.parse(
        workflow.definition(), place=lambda path: "--name" if path == ("workflow",) else f"{file}: {join(path)}"
    )
    if submit:
        submit_definition(definition, key=key, watch=watch)
        return
    text = workflow.to_yaml()
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidWorkflow([f"--output {output}: cannot be written: {error.strerror}"]) from error
    _tell(output, execution, time_scale, real=real)


def _read(file: str) -> Execution:
    from warrener.errors import InvalidWorkflow
    from warrener.wfformat import read_execution

    if file == "-":
        return read_execution(sys.stdin.read(), "stdin")
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidWorkflow([f"{file}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise InvalidWorkflow([f"{file}: is no text in UTF-8 (byte {error.start})"]) from error
    return read_execution(text, file)


def _tell(output: Path, execution: Execution, time_scale: float, *, real: bool) -> None:
    """Say what was written, and what it needs."""
    from .screen import say, say_aside

    work_s = sum(task.seconds for task in execution.tasks) * time_scale
    count = len(execution.tasks)
    say(f"{output} has {count} task{'' if count == 1 else 's'} of {work_s:.6g} s together.")
    if not real:
        say_aside("Its tasks wait in a worker of the app replay: warrener up --app warrener.replay --slots 32")
