"""Workflows: what is asked for. A definition is parsed once, and planned for each of its runs.

`Definition.parse` finds every problem of a definition at once. `Definition.plan` fills in the parameters of a
run and renders what is known at submission; a task whose templates ask for outputs of other tasks is rendered
by `render_with_outputs` when these are there. Nothing here does I/O or knows the time.

The language itself (fields, defaults, what is not built yet) is in `written`, the sections are in `sections`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from warrener import written
from warrener.errors import Cause, InvalidWorkflow, TaskFailed
from warrener.filters import Budget, TemplateProblem
from warrener.messages import Json, Kind
from warrener.problems import (
    ENOUGH,
    Path,
    Problem,
    as_written,
    dotted,
    findings,
    join,
    meant,
    not_json,
    sentences,
    show,
)
from warrener.recent import Recent
from warrener.sections import (
    LITERAL_FIELDS,
    SECTIONS,
    BuiltEnvironment,
    CallSection,
    EnvSection,
    JobSection,
    StageItem,
    StageSection,
)
from warrener.templates import RUN_FIELDS, References, compile_template, refused_block, render, texts
from warrener.written import Policy

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "BuiltEnvironment",
    "CallSection",
    "Definition",
    "EnvSection",
    "JobSection",
    "Plan",
    "Policy",
    "RunFacts",
    "StageItem",
    "StageSection",
    "TaskPlan",
    "needed_outputs",
    "render_with_outputs",
    "too_long",
]

MAX_SECTION_BYTES = 512 * 1024
"""How long a rendered section may be: it must fit into an order, of which a message carries 1 MiB at most."""

_SHOWN = 20
"""How many tasks of a circle are named."""
_CACHED_TEXT = 256 * 1024
"""Definitions with at most so many characters of JSON are kept parsed; submissions repeat their workflow."""
_KEPT_TEXT = 4 * 1024 * 1024
"""Of all of them together, in characters; parsed, they take ten to twenty times as much."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is, besides its workflow and parameters. `priority` overrides that of every task."""

    id: str
    owner: str
    logical_time: datetime | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task of a run. `n` counts from 0 in the order of the definition; `needs` are such numbers.

    `section` is the body of its orders, or, if `templated`, what `render_with_outputs` makes the body from.
    It is shared between runs: never change it.
    """

    n: int
    name: str
    kind: Kind
    lane: str
    needs: tuple[int, ...]
    section: dict[str, Json]
    templated: bool
    priority: int
    weight: int
    policy: Policy
    text: str
    """The section as JSON."""
    policy_text: str
    """The policy as JSON, without what has its default."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, ready to be stored. `params` has the defaults filled in; `digest` is that of the definition."""

    name: str
    version: str
    digest: str
    params: dict[str, Json]
    tasks: tuple[TaskPlan, ...]


@dataclass(frozen=True, slots=True)
class _ParsedTask:
    """A task of a definition: what is the same for every run, and what its templates ask for."""

    plan: TaskPlan
    asks: References
    body: bool
    """Whether `plan.section` is the body already: no templates at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A workflow that was found right. Read-only; the same object may come back for the same definition."""

    name: str
    version: str
    digest: str
    definition: dict[str, Json]
    params: Mapping[str, written.Param]
    _tasks: tuple[_ParsedTask, ...] = field(repr=False)

    @classmethod
    def parse(cls, definition: Mapping[str, Json], *, place: Callable[[Path], str] = dotted) -> Definition:
        """Check a definition; raises InvalidWorkflow with all its problems.

        `place` says where a problem is; by default `tasks.plot.job.argv[2]`.
        """
        if not isinstance(definition, Mapping):
            raise InvalidWorkflow([f"a workflow is a mapping with workflow: and tasks:, not {show(definition)}"])
        problems = list(not_json(dict(definition)))
        if problems:
            raise InvalidWorkflow(sentences(problems, place))
        text = json.dumps(dict(definition), ensure_ascii=False, separators=(",", ":"))
        if place is dotted and len(text) <= _CACHED_TEXT:
            return _parse_again(text)
        return cls._parse(text, place)

    @classmethod
    def read(cls, text: str) -> Definition:
        """Check a definition that is JSON text; raises InvalidWorkflow with all its problems."""
        return _read_again(text) if len(text) <= _CACHED_TEXT else cls.parse(json.loads(text))

    @classmethod
    def _parse(cls, text: str, place: Callable[[Path], str]) -> Self:
        definition = json.loads(text)
        problems: list[Problem] = []
        workflow = written.read(definition, problems)
        tasks = _parse_tasks(workflow, problems) if workflow else ()
        if problems or workflow is None:
            raise InvalidWorkflow(sentences(problems, place))
        return cls(workflow.name, workflow.version, _digest(definition), definition, workflow.params, tasks)

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(task.plan.name for task in self._tasks)

    def plan(self, params: Mapping[str, Json], *, run: RunFacts) -> Plan:
        """Plan a run; raises InvalidWorkflow with all problems of its parameters and what is made of them."""
        problems: list[Problem] = []
        filled = _fill(self.params, params, problems)
        if problems:
            raise InvalidWorkflow(sentences(problems))
        known: dict[str, dict[str, Json]] = {"params": filled, "run": self._run_fields(run)}
        tasks = tuple([_plan_task(task, known, run.priority, problems) for task in self._tasks])
        if problems:
            raise InvalidWorkflow(sentences(problems))
        return Plan(self.name, self.version, self.digest, filled, tasks)

    def _run_fields(self, run: RunFacts) -> dict[str, Json]:
        moment = run.logical_time.isoformat() if run.logical_time else None
        return dict(zip(RUN_FIELDS, (run.id, moment, run.owner, self.name), strict=True))


_parse_again = Recent(lambda text: Definition._parse(text, dotted), characters=_KEPT_TEXT)  # noqa: SLF001
_read_again = Recent(lambda text: Definition.parse(json.loads(text)), characters=_KEPT_TEXT)


def _digest(definition: dict[str, Json]) -> str:
    """Name a definition: what it says and the order of its tasks, not how it is laid out."""
    canonical = json.dumps(
        [definition, list(definition["tasks"])], sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


# ── parsing: what is the same for every run ─────────────────────────────────────────────────────────────────


def _parse_tasks(workflow: written.Workflow, problems: list[Problem]) -> tuple[_ParsedTask, ...]:
    numbers = {task.name: n for n, task in enumerate(workflow.tasks)}
    asks = [_asks(task, workflow, numbers, problems) for task in workflow.tasks]
    needs = [_needs(task, asked.tasks, numbers, problems) for task, asked in zip(workflow.tasks, asks, strict=True)]
    problems.extend(_cycles(workflow.tasks, needs))
    if problems:
        return ()
    return tuple(_parsed(n, task, needs[n], asks[n], problems) for n, task in enumerate(workflow.tasks))


def _parsed(
    n: int, task: written.Task, needs: tuple[int, ...], asks: References, problems: list[Problem]
) -> _ParsedTask:
    section = task.section
    constant = asks == References()
    if constant:
        section = _body(task.kind, section, task.path, problems)
    plan = TaskPlan(
        n,
        task.name,
        task.kind,
        task.lane,
        needs,
        section,
        bool(asks.tasks),
        task.priority,
        task.weight,
        task.policy,
        _text(section, task.path, problems),
        task.policy.model_dump_json(exclude_defaults=True),
    )
    return _ParsedTask(plan, asks, constant and not _has_templates(task))


def _has_templates(task: written.Task) -> bool:
    return any("{{" in text for _, text in _template_texts(task.kind, task.section, ()))


def _template_texts(kind: Kind, section: Mapping[str, Json], path: Path) -> list[tuple[Path, str]]:
    literal = LITERAL_FIELDS[kind]
    return [found for name, value in section.items() if name not in literal for found in texts(value, (*path, name))]


def _asks(
    task: written.Task, workflow: written.Workflow, numbers: Mapping[str, int], problems: list[Problem]
) -> References:
    found = References()
    for path, text in _template_texts(task.kind, task.section, task.path):
        if "{" not in text or len(problems) > ENOUGH:
            continue
        if refusal := refused_block(text):
            problems.append(Problem(path, refusal))
        elif "{{" in text:
            try:
                asks = compile_template(text).asks
            except TemplateProblem as problem:
                problems.append(Problem(path, str(problem)))
                continue
            problems.extend(_unknown_names(asks, path, workflow.params, numbers))
            found |= asks
    return found


def _unknown_names(
    asks: References, path: Path, params: Mapping[str, Any], numbers: Mapping[str, int]
) -> list[Problem]:
    strange = [
        Problem(path, f"params.{name}: the workflow has no such parameter{meant(name, params)}")
        for name in sorted(asks.params)
        if name not in params and name != "*"
    ]
    return strange + [
        Problem(path, f"tasks.{name}: the workflow has no such task{meant(name, numbers)}")
        for name in sorted(asks.tasks)
        if name not in numbers
    ]


def _needs(
    task: written.Task, asked: frozenset[str], numbers: Mapping[str, int], problems: list[Problem]
) -> tuple[int, ...]:
    for i, name in enumerate(task.needs):
        if name not in numbers and len(problems) <= ENOUGH:
            problems.append(Problem((*task.place, "needs", i), f"there is no task '{name}'{meant(name, numbers)}"))
    return tuple(sorted({numbers[name] for name in (*task.needs, *asked) if name in numbers}))


def _cycles(tasks: Sequence[written.Task], needs: Sequence[tuple[int, ...]]) -> list[Problem]:
    """Find a circle among the needs, if there is one, by a depth-first walk without recursion."""
    done = [False] * len(tasks)
    for start in range(len(tasks)):
        way: list[int] = []
        on_way: set[int] = set()
        steps = [(start, True)]
        while steps:
            n, entering = steps.pop()
            if not entering:
                on_way.discard(way.pop())
                done[n] = True
            elif n in on_way:
                return [_circle([tasks[i] for i in [*way[way.index(n) :], n]])]
            elif not done[n]:
                way.append(n)
                on_way.add(n)
                steps.append((n, False))
                steps.extend((need, True) for need in needs[n])
    return []


def _circle(tasks: Sequence[written.Task]) -> Problem:
    names = [task.name for task in tasks]
    half = _SHOWN // 2
    shown = names if len(names) <= _SHOWN else [*names[:half], "…", *names[-half:]]
    return Problem(tasks[0].place, f"needs itself in a circle: {' → '.join(shown)}; remove one of these needs")


# ── planning: what a run adds ───────────────────────────────────────────────────────────────────────────────


def _fill(specs: Mapping[str, written.Param], given: Mapping[str, Json], problems: list[Problem]) -> dict[str, Json]:
    filled: dict[str, Json] = {}
    problems.extend(
        Problem(("params", str(name)), f"the workflow has no such parameter{meant(name, specs)}")
        for name in [name for name in given if name not in specs][:ENOUGH]
    )
    for name, spec in specs.items():
        if name in given:
            problems.extend(not_json(given[name], ("params", name)))
            problems.extend(written.mistyped(spec, given[name], ("params", name)))
            filled[name] = given[name]
        elif spec.required:
            problems.append(Problem(("params", name), "this parameter is required, and none was given"))
        else:
            filled[name] = spec.default
    return filled


def _plan_task(
    task: _ParsedTask, known: dict[str, dict[str, Json]], priority: int | None, problems: list[Problem]
) -> TaskPlan:
    plan = task.plan
    if task.body and (priority is None or priority == plan.priority):
        return plan
    section = plan.section if task.body else _section(task, known, problems)
    chosen = plan.priority if priority is None else priority
    return TaskPlan(
        plan.n,
        plan.name,
        plan.kind,
        plan.lane,
        plan.needs,
        section,
        plan.templated,
        chosen,
        plan.weight,
        plan.policy,
        plan.text if task.body else _text(section, ("tasks", plan.name, plan.kind.value), problems),
        plan.policy_text,
    )


def _text(section: Mapping[str, Json], path: Path, problems: list[Problem]) -> str:
    text = json.dumps(section, separators=(",", ":"))
    if refusal := too_long(text):
        problems.append(Problem(path, refusal))
    return text


def too_long(section: str) -> str | None:
    """Say why an order could not carry a section, as JSON in ASCII; None if it can."""
    if len(section) <= MAX_SECTION_BYTES:
        return None
    return (
        f"it has {len(section):,} bytes, and an order carries {MAX_SECTION_BYTES:,} at most: pass large data in files"
    )


def _section(task: _ParsedTask, known: dict[str, dict[str, Json]], problems: list[Problem]) -> dict[str, Json]:
    """Render a section, or, where outputs are missing, pack it with what it will be rendered from.

    A section that waits for outputs is kept as it was written and rendered in one go: a parameter that looks
    like a template never becomes one. What can be rendered now is tried now, for its problems.
    """
    plan, place = task.plan, ("tasks", task.plan.name, task.plan.kind.value)
    rendered = _rendered(plan.kind, plan.section, known, place, problems, later=plan.templated)
    if not plan.templated:
        return _body(plan.kind, rendered, place, problems)
    asks = task.asks
    params = known["params"]
    return {
        "template": plan.section,
        "task": plan.name,
        "kind": plan.kind.value,
        "outputs": sorted(asks.tasks),
        "known": {
            "params": params if "*" in asks.params else {name: params[name] for name in sorted(asks.params)},
            "run": {name: known["run"][name] for name in sorted(asks.run)},
        },
    }


def _rendered(
    kind: Kind,
    section: Mapping[str, Json],
    context: Mapping[str, Json],
    path: Path,
    problems: list[Problem],
    *,
    later: bool = False,
) -> dict[str, Json]:
    literal, budget = LITERAL_FIELDS[kind], Budget()
    return {
        name: value if name in literal else render(value, context, budget, (*path, name), problems, later=later)
        for name, value in section.items()
    }


def _body(kind: Kind, section: Mapping[str, Json], path: Path, problems: list[Problem]) -> dict[str, Json]:
    """Check a rendered section and return it as the body of an order."""
    try:
        return SECTIONS[kind].model_validate(section).body()
    except ValidationError as error:
        problems.extend(problem for problem, _ in findings(error, SECTIONS[kind], path))
        return {}


# ── rendering when outputs are there ────────────────────────────────────────────────────────────────────────


def needed_outputs(section: Mapping[str, Json]) -> tuple[str, ...]:
    """Name the tasks whose outputs `render_with_outputs` needs for the section of a templated task."""
    return tuple(section["outputs"])


def render_with_outputs(section: Mapping[str, Json], outputs: Mapping[str, Json]) -> dict[str, Json]:
    """Render the section of a templated task to the body of its orders.

    `outputs` holds, by task name, what the tasks of `needed_outputs` returned; more does no harm. Raises
    TaskFailed(TEMPLATE), naming task, field and what is missing.
    """
    kind, task = Kind(section["kind"]), section["task"]
    context = {**section["known"], "tasks": {name: {"output": value} for name, value in outputs.items()}}
    place: Path = ("tasks", task, kind.value)
    problems: list[Problem] = []
    rendered = _rendered(kind, section["template"], context, place, problems)
    body = {} if problems else _body(kind, rendered, place, problems)
    if problems:
        told = (f"{join(as_written(problem.path)[2:])}: {problem.says}" for problem in problems[:5])
        raise TaskFailed(Cause.TEMPLATE, f"task '{task}', {'; '.join(told)}")
    return body
