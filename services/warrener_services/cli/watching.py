"""A run on the screen while it moves: live on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from warrener import asking
from warrener.client import Client
from warrener.errors import GatewayUnavailable
from warrener.runs import FINAL, RunState
from warrener.states import FINAL as FINAL_TASKS
from warrener.states import State
from warrener.views import RunDetail, TaskView

from .screen import STYLES, console, lasted, one_line, say, say_aside, state_text
from .showing import counts, remark, show_end

INTERRUPTED = 130
_ROWS = 12
_BAR = 30
_FIRST_TO_SHOW = (
    State.RUNNING, State.UNREACHABLE, State.CANCELLING, State.FAILED, State.ORDERED, State.READY, State.EXPIRED,
    State.WAITING, State.CANCELLED, State.UPSTREAM_FAILED, State.SKIPPED, State.SUCCEEDED,
)  # fmt: skip
_PAUSE_S = 0.1
_TASKS_PER_S = 5000


def watch_run(client: Client, run: str) -> int:
    """Watch a run until it ends; return the exit code. Ctrl-C stops watching only."""
    try:
        last = _live(client, run) if sys.stdout.isatty() else _plain(client, run)
    except KeyboardInterrupt:
        say_aside(f"\n{run} goes on. Watch it again: warrener status {run} --watch; stop it: warrener cancel {run}")
        return INTERRUPTED
    show_end(last, client.outputs(run) if last.state == RunState.SUCCEEDED else {})
    return 0 if last.state == RunState.SUCCEEDED else 1


def _pictures(client: Client, run: str) -> Iterator[RunDetail | None]:
    """Yield the run whenever it changed, until it ends; None when the gateway went away, which is waited for."""
    seen = ""
    away = False
    while True:
        try:
            detail = client.status(run, wait_s=asking.LONG_POLL_S if seen else 0, seen=seen)
        except GatewayUnavailable:
            if not seen:
                raise
            if not away:
                yield None
            away = True
            time.sleep(1)
            continue
        away = False
        if detail.seen != seen:
            yield detail
            seen = detail.seen
        if detail.state in FINAL:
            return
        # A large run changes all the time; nobody reads faster, and each picture of it is work for the gateway.
        time.sleep(_PAUSE_S + len(detail.tasks) / _TASKS_PER_S)


# ── without a terminal ──────────────────────────────────────────────────────────────────────────────────────────


def _plain(client: Client, run: str) -> RunDetail:
    before: dict[str, State] = {}
    state = ""
    last: RunDetail | None = None
    for detail in _pictures(client, run):
        if detail is None:
            say_aside("the gateway is away; waiting for it")
            continue
        if detail.state != state and detail.state not in FINAL:
            say(f"{detail.id} {detail.state}")
        for task in detail.tasks:
            if before.get(task.name) != task.state and task.state is not State.WAITING:
                said = remark(task)
                say(f"{detail.id}/{task.name} {task.state}{f': {said}' if said else ''}")
        before = {task.name: task.state for task in detail.tasks}
        state, last = detail.state, detail
    assert last is not None
    return last


# ── on a terminal ───────────────────────────────────────────────────────────────────────────────────────────────


class _Picture:
    """What is on the screen now; drawn anew several times a second, so that times move."""

    def __init__(self) -> None:
        self.detail: RunDetail | None = None
        self.away = False

    def draw(self) -> RenderableType:
        run = self.detail
        if run is None:
            return Text("")
        lines: list[RenderableType] = [_headline(run), _progress(run)]
        if run.tasks:
            lines.append(_tasks(run))
        else:
            lines.append(Text("waiting for a scheduler to take it up", style="dim"))
        if self.away:
            lines.append(Text("the gateway is away; waiting for it", style="yellow"))
        lines.append(Text("Ctrl-C stops watching; the run goes on", style="dim"))
        return Group(*lines)


def _live(client: Client, run: str) -> RunDetail:
    picture = _Picture()
    with Live(get_renderable=picture.draw, console=console(), refresh_per_second=5, transient=True):
        for detail in _pictures(client, run):
            picture.away = detail is None
            picture.detail = detail or picture.detail
    assert picture.detail is not None
    return picture.detail


def _headline(run: RunDetail) -> Text:
    took = lasted(run.accepted_at, run.finished_at)
    return Text.assemble((run.id, "bold"), f"  {run.workflow}  ", state_text(run.state), f"  {took}")


def _progress(run: RunDetail) -> RenderableType:
    done = sum(task.state in FINAL_TASKS for task in run.tasks)
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        ProgressBar(
            total=max(len(run.tasks), 1),
            completed=done,
            width=_BAR,
            complete_style="blue",
            finished_style=STYLES.get(run.state, "green"),
        ),
        Text(f"{done}/{len(run.tasks)}  {counts(run)}"),
    )
    return grid


def _tasks(run: RunDetail) -> RenderableType:
    rank = {state: n for n, state in enumerate(_FIRST_TO_SHOW)}
    first = sorted(run.tasks, key=lambda task: rank[task.state])[:_ROWS]
    shown = sorted(first, key=lambda task: task.n)
    grid = Table.grid(padding=(0, 2))
    for task in shown:
        grid.add_row(*_row(task))
    if len(run.tasks) > len(shown):
        grid.add_row(Text(f"… and {len(run.tasks) - len(shown)} more", style="dim"))
    return grid


def _row(task: TaskView) -> tuple[Text, ...]:
    return (
        Text(f"  {one_line(task.name, 40)}"),
        state_text(task.state, sign=True),
        Text(lasted(task.started_at, task.finished_at), justify="right"),
        Text(f"on {task.worker}" if task.worker and task.state is State.RUNNING else remark(task), style="dim"),
    )
