"""Executions in WfFormat become workflows whose tasks last as long as they did.

WfFormat is the JSON of the WfCommons project (https://wfcommons.org/format, version 1.5): who needs whom stands in
`workflow.specification`, how long each task ran in `workflow.execution`. Commands and files are left aside: a task of
the replay waits, in a worker of the app `replay` or as a process.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from warrener.building import Workflow
from warrener.errors import InvalidWorkflow
from warrener.problems import ENOUGH, Path, Problem, findings, join, meant, printable, sentences, show

VERSION = "1.5"

_FUNCTION = "replay.wait"
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Ran:
    """A task as it ran: how long, and after which others."""

    id: str
    seconds: float
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Execution:
    """A workflow as it ran; its tasks are in the order of the document, and need one another without circles."""

    name: str
    tasks: tuple[Ran, ...]


# ── the document ────────────────────────────────────────────────────────────────────────────────────────────


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Specified(_Part):
    id: str
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


class _Specification(_Part):
    tasks: tuple[_Specified, ...] = Field(min_length=1)


class _Timed(_Part):
    id: str
    seconds: float | None = Field(default=None, alias="runtimeInSeconds", ge=0, allow_inf_nan=False, strict=True)


class _Execution(_Part):
    tasks: tuple[_Timed, ...] = ()


class _Workflow(_Part):
    specification: _Specification
    execution: _Execution = _Execution()


class _Document(_Part):
    name: str = ""
    workflow: _Workflow


def read_execution(text: str, source: str) -> Execution:
    """Read a document; raises InvalidWorkflow with all its problems, each beginning with the `source`."""

    def place(path: Path) -> str:
        return f"{source}: {join(path)}" if path else source

    problems: list[Problem] = []
    document = _document(text, problems)
    tasks = _tasks(document.workflow, problems) if document else ()
    if document is None or problems:
        raise InvalidWorkflow(sentences(problems, place))
    execution = Execution(document.name, tasks)
    if circle := _circle(execution):
        raise InvalidWorkflow([f"{source}: tasks need one another in a circle: {circle}"])
    return execution


def _document(text: str, problems: list[Problem]) -> _Document | None:
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        problems.append(Problem((), f"is no JSON: line {error.lineno}, column {error.colno}: {error.msg}"))
        return None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        problems.append(Problem((), "is no JSON that can be read: a number is too long, or it is nested too deep"))
        return None
    if not isinstance(value, dict):
        problems.append(Problem((), f"is no WfFormat: expected a mapping, got {show(value)}"))
    elif "schemaVersion" not in value:
        problems.append(Problem((), "is no WfFormat: it says no schemaVersion"))
    elif value["schemaVersion"] != VERSION:
        says = f"is WfFormat {printable(value['schemaVersion'])}, and only {VERSION} is read here"
        problems.append(Problem((), f"{says}; the tools of wfcommons.org bring older ones up to date"))
    else:
        try:
            return _Document.model_validate(value)
        except ValidationError as error:
            problems.extend(problem for problem, _ in findings(error, _Document, ()))
    return None


def _tasks(workflow: _Workflow, problems: list[Problem]) -> tuple[Ran, ...]:
    """Bring together what is specified and what was executed, and who says to need whom: both sides may say it."""
    specified = workflow.specification.tasks
    seconds = {task.id: task.seconds for task in workflow.execution.tasks if task.seconds is not None}
    needs: dict[str, dict[str, None]] = {task.id: dict.fromkeys(task.parents) for task in specified}
    for task in specified:
        for child in task.children:
            if child in needs:
                needs[child][task.id] = None
    problems.extend(_faults(specified, seconds, needs))
    return tuple(Ran(task.id, seconds.get(task.id, 0.0), tuple(needs[task.id])) for task in specified)


def _faults(
    tasks: Collection[_Specified], seconds: Mapping[str, float], known: Mapping[str, object]
) -> Iterator[Problem]:
    at: Path = ("workflow", "specification", "tasks")
    for name, count in Counter(task.id for task in tasks).items():
        if count > 1:
            yield Problem(at, f"{count} tasks have the id '{printable(name)}'; an id names one task")
    if tasks and not seconds:
        yield Problem((), "says nowhere how long a task ran (workflow.execution): only an execution can be replayed")
        return
    for count, task in enumerate(tasks):
        if count > ENOUGH:
            return
        if task.id not in seconds:
            says = f"of the task '{printable(task.id)}' no runtimeInSeconds is told"
            yield Problem(("workflow", "execution", "tasks"), says)
        for field, named in (("parents", task.parents), ("children", task.children)):
            for other in named:
                if other not in known:
                    yield Problem((*at, task.id, field), f"there is no task '{printable(other)}'{meant(other, known)}")


def _circle(execution: Execution) -> str:
    """Name some tasks that can never start, because they wait for one another; nothing if there are none."""
    left = {task.id: set(task.needs) for task in execution.tasks}
    needed_by: dict[str, list[str]] = {}
    for ran in execution.tasks:
        for need in left[ran.id]:
            needed_by.setdefault(need, []).append(ran.id)
    ready = [task for task, needs in left.items() if not needs]
    while ready:
        done = ready.pop()
        del left[done]
        for task in needed_by.get(done, ()):
            left[task].discard(done)
            if not left[task]:
                ready.append(task)
    way: list[str] = []
    step = next(iter(left), None)
    while step is not None and step not in way:  # what is left needs something that is left: the way must close
        way.append(step)
        step = min(left[step])
    circle = [] if step is None else [step, *reversed(way[way.index(step) :])]
    shown = circle if len(circle) <= 10 else [*circle[:5], "…", *circle[-4:]]  # noqa: PLR2004 - one sentence
    return " → ".join(map(printable, shown))


# ── the workflow ────────────────────────────────────────────────────────────────────────────────────────────


def replay(execution: Execution, *, time_scale: float = 1.0, real: bool = False, name: str | None = None) -> Workflow:
    """Build the workflow that replays an execution, its run times multiplied by `time_scale`.

    Its tasks are calls of `replay.wait`, or, if `real`, jobs that sleep. Names are those of the execution, as far as
    they may be names here.
    """
    names = _names(task.id for task in execution.tasks)
    scaled = "" if time_scale == 1 else f", its run times times {time_scale:g}"
    workflow = Workflow(
        name or _workflow_name(execution.name), description=f"A replay of {printable(execution.name)}{scaled}"
    )
    for task in execution.tasks:
        seconds = round(task.seconds * time_scale, 6)
        section = {"job": {"argv": ["sleep", f"{seconds:f}"]}} if real else _wait(seconds)
        needs = [names[need] for need in task.needs]
        description = None if names[task.id] == task.id else task.id
        workflow.task(names[task.id], needs=needs, expect=seconds, description=description, **section)
    return workflow


def _wait(seconds: float) -> dict[str, Any]:
    return {"call": {"function": _FUNCTION, "args": {"seconds": seconds}}}


def _workflow_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].strip("-") or "replay"


def _names(ids: Iterable[str]) -> dict[str, str]:
    """Make the ids names of tasks, each its own; an id that may be a name stays as it is."""
    wanted = {one: re.sub(r"[^A-Za-z0-9_-]+", "-", one)[:_LONGEST_NAME].strip("-_") or "task" for one in ids}
    taken = {name for one, name in wanted.items() if one == name}
    names: dict[str, str] = {}
    for one, name in wanted.items():
        free, number = name, 1
        while one != name and free in taken:
            number += 1
            free = f"{name}-{number}"
        taken.add(free)
        names[one] = free
    return names
