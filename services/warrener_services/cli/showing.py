"""A run or a task on the screen, once."""

from __future__ import annotations

import json

from rich.text import Text

from warrener.alerts import clean
from warrener.messages import Json
from warrener.runs import FINAL, RunState
from warrener.states import State
from warrener.views import RunDetail, TaskDetail, TaskView

from .screen import ago, console, failure_line, lasted, one_line, say, show_table, state_text

_SHOWN_TASKS = 200
_SHOWN_OUTPUT = 2000
_MESSAGE = 100
_SHOWN_LINES = 20


def show_run(run: RunDetail) -> None:
    """Show a run and its tasks."""
    headline(run)
    if run.params:
        say(f"params   {one_line(json.dumps(run.params, ensure_ascii=False))}")
    if not run.tasks:
        say("No scheduler has taken it up yet.")
        return
    say()
    show_table(
        ("TASK", "KIND", "STATE", "TRY", "WORKER", "TOOK", ""),
        [
            (
                task.name, task.kind, state_text(task.state, sign=True), str(task.attempt or ""),
                task.worker or "", lasted(task.started_at, task.finished_at), remark(task),
            )
            for task in run.tasks[:_SHOWN_TASKS]
        ],
    )  # fmt: skip
    if len(run.tasks) > _SHOWN_TASKS:
        say(f"… and {len(run.tasks) - _SHOWN_TASKS} more tasks")
    for line in advice(run):
        say(line)


def headline(run: RunDetail) -> None:
    """Show what a run is and how it stands."""
    line = Text.assemble((run.id, "bold"), f"  {run.workflow}  ", state_text(run.state), f"  {counts(run)}")
    console().print(line)
    ended = f", took {lasted(run.accepted_at, run.finished_at)}" if run.finished_at else ""
    say(f"owner    {run.owner}, key {run.key}, accepted {ago(run.accepted_at)}{ended}")


def counts(run: RunDetail) -> str:
    """Say how many tasks are in each state."""
    order = {state.value: n for n, state in enumerate(State)}
    parts = sorted(run.counts.items(), key=lambda part: order.get(part[0], 99))
    return ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in parts)


def remark(task: TaskView) -> str:
    """Say what went wrong with a task, in a line."""
    told = task.message or task.cause or ""
    return "" if task.state is State.SUCCEEDED or told == task.state else failure_line(told, _MESSAGE)


def advice(run: RunDetail) -> list[str]:
    """Say what to type next, when something went wrong or nothing moves."""
    failed = [task for task in run.tasks if task.state is State.FAILED]
    if failed:
        return [
            "",
            f"What it printed: warrener logs {run.id} {failed[0].name}",
            f"Another go:      warrener retry {run.id}",
        ]
    if run.state in FINAL or any(task.state in (State.RUNNING, State.SUCCEEDED) for task in run.tasks):
        return []
    return ["", f"What it waits for: warrener why {run.id}"]


def show_end(run: RunDetail, outputs: dict[str, Json]) -> None:
    """Show how a run ended, after it was watched."""
    headline(run)
    for task in run.tasks:
        if task.state is State.FAILED:
            say(f"  {task.name} failed: {failure_line(task.message or str(task.cause), 300)}")
    told = {name: output for name, output in outputs.items() if output is not None}
    if told and run.state == RunState.SUCCEEDED:
        say("outputs")
        for name, output in told.items():
            say(f"  {name}: {one_line(json.dumps(output, ensure_ascii=False), 400)}")
    for line in advice(run):
        say(line)


def show_task(task: TaskDetail) -> None:
    """Show a task with its history and output."""
    line = Text.assemble(
        (f"{task.run}/{one_line(task.name)}", "bold"), f"  {task.kind}  ", state_text(task.state, sign=True)
    )
    console().print(line)
    for name, value in _facts(task):
        if value:
            say(f"{name:<9}{value}")
    for told in _printed(task):
        say(f"         {told}")
    for one in task.attempts:
        how = f", exit code {one.exit_code}" if one.exit_code is not None else ""
        on = f" on {one.worker}" if one.worker else ""
        because = f": {failure_line(one.message, _MESSAGE)}" if one.message else ""
        say(f"attempt {one.attempt}{on} ended {ago(one.ended_at)} ({one.ended}{how}){because}")
    for stray in task.strays:
        say(f"a report of attempt {stray.attempt} from {stray.worker} was not applied: {one_line(stray.reason)}")
    if task.output is not None:
        text = json.dumps(task.output, ensure_ascii=False, indent=2)
        say("output")
        say(text if len(text) <= _SHOWN_OUTPUT else f"{text[:_SHOWN_OUTPUT]}…\n(use --json for all of it)")


def _facts(task: TaskDetail) -> list[tuple[str, str]]:
    return [
        ("needs", ", ".join(task.needs)),
        ("worker", task.worker or ""),
        ("attempt", str(task.attempt) if task.attempt else ""),
        ("started", ago(task.started_at)),
        ("took", lasted(task.started_at, task.finished_at)),
        ("code", str(task.exit_code or "")),
        ("message", one_line((task.message or "").partition("\n")[0], 500)),
    ]


def _printed(task: TaskDetail) -> list[str]:
    """Return the last lines that came with the message."""
    lines = [one_line(line, 200) for line in clean(task.message or "").splitlines()[1:] if line.strip()]
    return lines if len(lines) <= _SHOWN_LINES else ["…", *lines[-_SHOWN_LINES:]]
