"""`warrener runs`, `status`, `cancel`, `retry`, `why`."""

from __future__ import annotations

from typing import Annotated

import typer

_PANEL = "Runs"

TheRun = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the first characters of one.")]
TheRunOrTask = Annotated[
    str, typer.Argument(metavar="RUN[/TASK]", help="A run's id, or the first characters of one; with a task's name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_RUNS = """\
[bold]Examples[/bold]
  warrener runs --state failed --state running
  warrener runs --workflow plots --limit 200 --json

States are accepted, running, cancelling, succeeded, failed and cancelled.
"""
_STATUS = """\
[bold]Examples[/bold]
  warrener status 01h8xk2m           # the run and its tasks
  warrener status 01h8xk2m/plot      # one task: output, attempts, what went wrong
  warrener status 01h8xk2m --watch

The first characters of an id will do when no other run begins so.
"""
_WHY = """\
[bold]Examples[/bold]
  warrener why 01h8xk2m/plot      # one task
  warrener why 01h8xk2m           # the run and every task that is not finished

It names what is missing, what to start, or when something will happen by itself.
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_RUNS, rich_help_panel=_PANEL)(runs)
    app.command(epilog=_STATUS, rich_help_panel=_PANEL)(status)
    app.command(rich_help_panel=_PANEL)(cancel)
    app.command(rich_help_panel=_PANEL)(retry)
    app.command(epilog=_WHY, rich_help_panel=_PANEL)(why)


def runs(
    *,
    state: Annotated[list[str] | None, typer.Option(help="Only runs in this state; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only runs of this owner.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only runs of this workflow.")] = None,
    before: Annotated[str | None, typer.Option(metavar="RUN", help="Only runs older than this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from warrener.client import Client

    from .screen import ago, lasted, say, say_aside, show_table, state_text

    with Client() as client:
        page = client.runs(state=_known(state or []), owner=owner, workflow=workflow, before=before, limit=limit)
    if as_json:
        say(page.model_dump_json(indent=2))
        return
    if not page.runs:
        say("There are no such runs." if state or owner or workflow or before else "There are no runs yet.")
        return
    show_table(
        ("RUN", "WORKFLOW", "STATE", "DONE", "OWNER", "ACCEPTED", "TOOK"),
        [
            (
                run.id, run.workflow, state_text(run.state), f"{run.task_count - run.unfinished}/{run.task_count}",
                run.owner, ago(run.accepted_at), lasted(run.accepted_at, run.finished_at),
            )
            for run in page.runs
        ],
        right=("DONE",),
    )  # fmt: skip
    if page.next:
        say_aside(f"There may be more: warrener runs --before {page.next}")


def _known(states: list[str]) -> list[str]:
    from warrener.errors import Refused
    from warrener.problems import meant
    from warrener.runs import RunState

    for state in states:
        if state not in set(RunState):
            raise Refused(f"--state {state}: there is no such state{meant(state, RunState)}; use {', '.join(RunState)}")
    return states


def status(
    run: TheRunOrTask, *, watch: Annotated[bool, typer.Option("--watch", "-w")] = False, as_json: AsJson = False
) -> None:
    """Show a run and its tasks, or one task in full."""
    from warrener.client import Client

    from .asked import split_task
    from .screen import say
    from .showing import show_run, show_task
    from .watching import watch_run

    name, task = split_task(run)
    with Client() as client:
        if task is not None:
            detail = client.task(name, task)
            if as_json:
                say(detail.model_dump_json(indent=2))
            else:
                show_task(detail)
        elif watch:
            raise typer.Exit(watch_run(client, client.status(name).id))
        else:
            found = client.status(name)
            if as_json:
                say(found.model_dump_json(indent=2))
            else:
                show_run(found)


def cancel(run: TheRun) -> None:
    """Cancel a run: what runs is stopped, what waits is dropped."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        found = client.cancel(run)
    say(f"{found.id} will be cancelled; see how it goes with `warrener status {found.id} --watch`.")


def retry(run: TheRun) -> None:
    """Give a failed or cancelled run another go; what succeeded stays."""
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        found = client.retry(run)
    say(f"{found.id} gets another go; see how it goes with `warrener status {found.id} --watch`.")


def why(run: TheRunOrTask) -> None:
    """Say in one sentence what a task waits for, and what would release it."""
    from warrener.client import Client

    from .asked import split_task
    from .screen import say

    name, task = split_task(run)
    with Client() as client:
        if task is not None:
            say(client.why_task(name, task).why)
            return
        page = client.why(name)
    say(f"{page.run}: {page.why}")
    for one in page.tasks:
        say(f"  {one.task}: {one.why}")
