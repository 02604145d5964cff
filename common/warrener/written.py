"""A workflow as people write it: fields, defaults, and what is not built yet.

What a person writes is checked strictly: an unknown field is an error that names it and the nearest known
one. Every problem is collected; nothing is raised here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from warrener.messages import Json, Kind
from warrener.problems import ENOUGH, Path, Problem, findings, meant, show
from warrener.retries import Duration, PositiveDuration, Retry
from warrener.sections import OPEN, SECTIONS, UNRENDERED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

MAX_TASKS = 100_000
DEFAULT_PRIORITY = 4


class _Name(NamedTuple):
    pattern: re.Pattern[str]
    rule: str


_WORKFLOW_NAME = _Name(
    re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"),
    "a workflow's name has 1 to 64 of a-z, 0-9 and -, and begins and ends without -",
)
_TASK_NAME = _Name(
    re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9])?"),
    "a task's name has 1 to 128 letters, digits, - and _, and begins and ends with a letter or digit",
)
_PARAM_NAME = _Name(
    re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}"),
    "a parameter's name has 1 to 64 letters, digits and _, and begins with no digit",
)

OnLost = Literal["retry", "hold", "fail"]
ParamType = Literal["string", "integer", "number", "boolean", "list", "object"]

NOT_BUILT = {
    "workflow": ("schedule", "schedules", "concurrency", "datasets", "class", "requires", "prefer", "target"),
    "task": (
        "requires", "prefer", "concurrency", "class", "schedule", "datasets", "produces", "when", "branch",
        "branches", "target", "map", "foreach", "matrix", "site", "delay", "group", "pool",
    ),
    "env": ("image", "modules", "conda", "packages", "requirements_file"),
    "stage": (),
    "job": ("target", "container", "image", "resources", "user", "limits"),
    "call": (),
}  # fmt: skip
"""Fields of the design that this version does not have; they are refused, so that nobody relies on them."""

_KINDS = tuple(kind.value for kind in Kind)
M = TypeVar("M", bound=BaseModel)


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Policy(BaseModel):
    """How a task may run. Times are in seconds; None: no limit (`lease_s`: the deployment's default)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    timeout_s: float | None = None
    """How long one attempt may run."""
    lease_s: float | None = None
    """How long an attempt may go without a heartbeat."""
    grace_s: float | None = None
    """How late it may start, counted from when it could have; then it expires."""
    deadline_s: float | None = None
    """When its result is due, counted from the run's beginning; it only orders the waiting."""
    expect_s: float | None = None
    """How long it is expected to run; it only orders the waiting. None: what it took before tells."""
    retry: Retry = Retry()
    on_lost: OnLost = "retry"
    once: bool = False
    """Whether a call must be claimed before it starts; env, stage and job always are."""


class Param(_Written):
    """A parameter. Given neither default nor `required: false`, it must be given."""

    type: ParamType | None = None
    default: Json = None
    required: bool = Field(default=False, strict=True)
    description: str = ""


class Defaults(_Written):
    """What holds for every task that does not say otherwise."""

    priority: int = Field(default=DEFAULT_PRIORITY, ge=0, le=9, strict=True)
    weight: int = Field(default=1, ge=1, le=10_000, strict=True)
    timeout: PositiveDuration | None = None
    lease: PositiveDuration | None = None
    grace: Duration | None = None
    deadline: Duration | None = None
    expect: Duration | None = None
    retry: Retry = Retry()
    on_lost: OnLost = "retry"


class TaskFields(Defaults):
    """What may be said about one task, besides its section."""

    needs: tuple[str, ...] = ()
    description: str = ""
    env: Any = None
    stage: Any = None
    job: Any = None
    call: Any = None


class Header(_Written):
    """The top of a workflow."""

    workflow: str
    version: str = Field(default="", max_length=64)
    description: str = ""
    params: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    tasks: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it was written, with the defaults filled in. `section` holds its templates unrendered."""

    name: str
    kind: Kind
    lane: str
    section: dict[str, Json]
    needs: tuple[str, ...]
    priority: int
    weight: int
    policy: Policy

    @property
    def place(self) -> Path:
        return "tasks", self.name

    @property
    def path(self) -> Path:
        return "tasks", self.name, self.kind.value


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as it was written, without the problems of how its tasks hang together."""

    name: str
    version: str
    params: Mapping[str, Param]
    tasks: tuple[Task, ...]


def read(definition: Mapping[str, Json], problems: list[Problem]) -> Workflow | None:
    """Read a definition (JSON); None if it is so wrong that its tasks cannot be looked at."""
    header = _header(_without_not_built(definition, "workflow", (), problems), problems)
    if header is None:
        return None
    if not header.tasks:
        problems.append(Problem(("tasks",), "a workflow needs at least one task"))
    if len(header.tasks) > MAX_TASKS:
        problems.append(Problem(("tasks",), f"{len(header.tasks)} tasks; a workflow has at most {MAX_TASKS}"))
        return None
    params = {name: _param(name, spec, problems) for name, spec in header.params.items()}
    reader = _TaskReader(_task_defaults(header.defaults, problems), header.tasks, problems)
    tasks = tuple(reader.read(name) for name in header.tasks)
    return Workflow(header.workflow, header.version, params, tasks)


def _header(fields: Mapping[str, Json], problems: list[Problem]) -> Header | None:
    """Read the top; what is wrong there is put aside if the rest can still be judged."""
    found: list[Problem] = []
    header = _check(Header, fields, (), found)
    problems.extend(found)
    if header is None:
        wrong = {problem.path[0] for problem in found if problem.path}
        if "tasks" in wrong or "tasks" not in fields:
            return None
        kept = {name: value for name, value in fields.items() if name not in wrong}
        return _check(Header, {"workflow": "unnamed", **kept}, (), problems)
    _check_name(header.workflow, _WORKFLOW_NAME, ("workflow",), problems)
    return header


# ── parameters ──────────────────────────────────────────────────────────────────────────────────────────────


def _param(name: str, spec: Json, problems: list[Problem]) -> Param:
    """Read a parameter: a mapping describes it, anything else is its default and fixes its type."""
    path: Path = ("params", name)
    _check_name(name, _PARAM_NAME, path, problems)
    if not isinstance(spec, dict):
        return Param(type=_type_of(spec), default=spec)
    param = _check(Param, spec, path, problems)
    if param is None:
        return Param()
    if "default" in spec:
        if param.required:
            problems.append(Problem(path, "required: true and a default contradict each other; keep one"))
        if spec["default"] is not None:
            problems.extend(mistyped(param, spec["default"], (*path, "default")))
        return param
    return param if "required" in spec else param.model_copy(update={"required": True})


def _type_of(value: Json) -> ParamType | None:
    for name, sort in _SORTS.items():
        if _is(value, sort):
            return name
    return None


_SORTS: dict[ParamType, tuple[type, ...]] = {
    "boolean": (bool,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "list": (list, tuple),
    "object": (dict,),
}


def _is(value: Json, sort: tuple[type, ...]) -> bool:
    return isinstance(value, sort) and (bool in sort or not isinstance(value, bool))


_TYPE_WORDS = {
    "boolean": "true or false", "string": "text", "integer": "a whole number", "number": "a number",
    "list": "a list", "object": "a mapping",
}  # fmt: skip


def mistyped(spec: Param, value: Json, path: Path) -> list[Problem]:
    """Say that a value has not the type of its parameter; null is taken where nothing is required."""
    if spec.type is None or _is(value, _SORTS[spec.type]) or (value is None and not spec.required):
        return []
    return [Problem(path, f"expected {_TYPE_WORDS[spec.type]}, got {show(value)}")]


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────


def _task_defaults(fields: Mapping[str, Json], problems: list[Problem]) -> dict[str, Json]:
    kept = _without_not_built(fields, "task", ("defaults",), problems)
    return kept if _check(Defaults, kept, ("defaults",), problems) else {}


@dataclass(frozen=True, slots=True)
class _TaskReader:
    """Reads the tasks of one definition, and collects their problems."""

    defaults: Mapping[str, Json]
    written: Mapping[str, Json]
    problems: list[Problem]

    def read(self, name: str) -> Task:
        """Read a task; one with problems becomes a stand-in, so that needs are still judged."""
        path: Path = ("tasks", name)
        _check_name(name, _TASK_NAME, path, self.problems)
        raw = self.written[name]
        if len(self.problems) > ENOUGH:
            return Task(name, Kind.CALL, "", {}, (), 0, 1, Policy())
        return self._task(name, raw, path) or Task(name, Kind.CALL, "", {}, _named(raw), 0, 1, Policy())

    def _task(self, name: str, raw: Json, path: Path) -> Task | None:
        if not isinstance(raw, dict):
            says = f"expected a mapping with one of {', '.join(_KINDS)}, got {show(raw)}"
            self.problems.append(Problem(path, says))
            return None
        fields = _without_not_built(raw, "task", path, self.problems)
        task = _check(TaskFields, _merged(self.defaults, fields), path, self.problems)
        kind = self._kind(fields, path)
        section = self._section(kind, fields[kind], (*path, kind.value)) if kind else None
        if task is None or kind is None or section is None:
            return None
        lane = _lane(kind, section)
        policy = _policy(task, section)
        return Task(name, kind, lane, section, task.needs, task.priority, task.weight, policy)

    def _kind(self, fields: Mapping[str, Json], path: Path) -> Kind | None:
        found = [name for name in _KINDS if name in fields]
        if len(found) == 1:
            return Kind(found[0])
        has = f"has {' and '.join(found)}" if found else "does not say what it does"
        self.problems.append(Problem(path, f"a task has exactly one of {', '.join(_KINDS)}; this one {has}"))
        return None

    def _section(self, kind: Kind, raw: Json, path: Path) -> dict[str, Json] | None:
        """Check a section as far as its templates allow; return it as a mapping, its templates unrendered."""
        if kind is Kind.STAGE and isinstance(raw, list):
            section: dict[str, Json] = {"items": raw}
        elif kind is not Kind.STAGE and isinstance(raw, dict):
            section = _without_not_built(raw, kind.value, path, self.problems)
        else:
            wanted = "a list of {from: …, to: …}" if kind is Kind.STAGE else "a mapping"
            self.problems.append(Problem(path, f"expected {wanted}, got {show(raw)}"))
            return None
        if kind is Kind.JOB and "environment" in section:
            section = self._with_reference(section, (*path, "environment"))
        return section if self._is_right(kind, section, path) else None

    def _with_reference(self, section: dict[str, Json], path: Path) -> dict[str, Json]:
        """Replace an env task's name by a template for its output, which makes the job need that task."""
        name = section["environment"]
        other = self.written.get(name) if isinstance(name, str) else None
        if isinstance(other, dict) and "env" in other:
            return {**section, "environment": f"{{{{ tasks['{name}'].output }}}}"}
        near = meant(name, (task for task, raw in self.written.items() if isinstance(raw, dict) and "env" in raw))
        is_task = isinstance(name, str) and name in self.written
        says = f"the task '{name}' is not an env task" if is_task else f"expected an env task's name, got {show(name)}"
        self.problems.append(Problem(path, says + near))
        return {field: value for field, value in section.items() if field != "environment"}

    def _is_right(self, kind: Kind, section: dict[str, Json], path: Path) -> bool:
        """Judge a section, except where a template decides."""
        try:
            SECTIONS[kind].model_validate(section, context=UNRENDERED)
        except ValidationError as error:
            found = [
                problem
                for problem, value in findings(error, SECTIONS[kind], path)
                if not (isinstance(value, str) and OPEN in value and problem.path[-1] not in _NEVER_TEMPLATES)
            ]
            self.problems.extend(found)
            return not found
        return True


_NEVER_TEMPLATES = {"function", "once", "manager", "lock"}


def _named(raw: Json) -> tuple[str, ...]:
    """Return the needs of a task that has other problems, as far as they can be read."""
    needs = raw.get("needs") if isinstance(raw, dict) else None
    return tuple(name for name in needs if isinstance(name, str)) if isinstance(needs, list) else ()


def _merged(defaults: Mapping[str, Json], fields: Mapping[str, Json]) -> dict[str, Json]:
    """Fill in the defaults; of `retry`, field by field."""
    merged = {**defaults, **fields}
    general, own = (_retry_fields(part.get("retry")) for part in (defaults, fields))
    if general is not None and own is not None:
        merged["retry"] = {**general, **own}
    return merged


def _retry_fields(retry: Json) -> dict[str, Json] | None:
    if isinstance(retry, int) and not isinstance(retry, bool):
        return {"count": retry}
    return retry if isinstance(retry, dict) else None


def _lane(kind: Kind, section: Mapping[str, Json]) -> str:
    return f"call.{section['function'].partition('.')[0]}" if kind is Kind.CALL else kind.value


def _policy(task: TaskFields, section: Mapping[str, Json]) -> Policy:
    return Policy(
        timeout_s=_seconds(task.timeout),
        lease_s=_seconds(task.lease),
        grace_s=_seconds(task.grace),
        deadline_s=_seconds(task.deadline),
        expect_s=_seconds(task.expect),
        retry=task.retry,
        on_lost=task.on_lost,
        once=section.get("once") is True,
    )


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


# ── checks shared by all parts ──────────────────────────────────────────────────────────────────────────────


def _check(model: type[M], fields: Mapping[str, Json], path: Path, problems: list[Problem]) -> M | None:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        for problem, value in findings(error, model, path):
            templated = isinstance(value, str) and OPEN in value
            hint = "; templates are allowed inside env, stage, job and call only" if templated else ""
            problems.append(Problem(problem.path, problem.says + hint))
        return None


def _without_not_built(fields: Mapping[str, Json], where: str, path: Path, problems: list[Problem]) -> dict[str, Json]:
    problems.extend(
        Problem((*path, name), f"'{name}' is not built yet; remove it, as this version could only ignore it")
        for name in fields
        if name in NOT_BUILT[where]
    )
    return {name: value for name, value in fields.items() if name not in NOT_BUILT[where]}


def _check_name(name: str, allowed: _Name, path: Path, problems: list[Problem]) -> None:
    if not allowed.pattern.fullmatch(name):
        problems.append(Problem(path, f"{name[:80]!r} is no name: {allowed.rule}"))
