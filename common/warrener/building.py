"""Workflows written in Python; they become the same definition as YAML.

    wf = Workflow("seattle-weather", params={"year": 2012})
    python = wf.task("python", env={"requirements": ["matplotlib==3.9.4"]})
    plot = wf.task("plot", job={"argv": ["python", "plot.py", wf.params["year"]], "environment": python})
    wf.call("images.thumbnail", path=plot.output["path"])
    print(wf.to_yaml())

A reference (`plot.output["path"]`, `wf.params["year"]`, `wf.run["id"]`) stands for a value that is known
later: alone it keeps its type, inside an f-string it becomes text. A task that refers to another's output
needs that task by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml

from warrener.errors import InvalidWorkflow
from warrener.reading import plain_value
from warrener.workflows import Definition

if TYPE_CHECKING:
    from warrener.messages import Json

_ESCAPES = {"\\": "\\\\", "'": "\\'", "{": "\\x7b", "}": "\\x7d", "\n": "\\n", "\r": "\\r"}
"""How letters of a name are written inside a template's quotes; line ends would be made alike there."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Reference:
    """A value that is known later; `[…]` goes into it."""

    __slots__ = ("_expression",)

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __getitem__(self, key: str | int) -> Reference:
        return Reference(self._expression + _step(key))

    def __iter__(self) -> Any:  # without this, Python would iterate by __getitem__ for ever
        raise TypeError(f"{self} is known only when the task runs; it cannot be iterated")

    def __str__(self) -> str:
        return f"{{{{ {self._expression} }}}}"

    def __repr__(self) -> str:
        return f"Reference({self._expression!r})"


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    if _WORD.fullmatch(key):
        return f".{key}"
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in key)
    return f"['{escaped}']"


@dataclass(frozen=True, eq=False)
class Task:
    """One task. Exactly one of `env`, `stage`, `job` and `call`; the rest as in YAML, None where it is not said.

    Durations may be timedeltas, `needs` and a job's `environment` tasks or names.
    """

    name: str
    _: KW_ONLY
    env: Mapping[str, Any] | None = None
    stage: Iterable[Mapping[str, Any]] | None = None
    job: Mapping[str, Any] | None = None
    call: Mapping[str, Any] | None = None
    needs: Iterable[Task | str] = ()
    description: str | None = None
    priority: int | None = None
    weight: int | None = None
    timeout: timedelta | float | str | None = None
    lease: timedelta | float | str | None = None
    grace: timedelta | float | str | None = None
    deadline: timedelta | float | str | None = None
    expect: timedelta | float | str | None = None
    retry: Mapping[str, Any] | int | None = None
    on_lost: str | None = None

    @property
    def output(self) -> Reference:
        """What the task will return; using it in another task makes that task wait for this one."""
        return Reference(f"tasks{_step(self.name)}.output")

    def fields(self) -> dict[str, Json]:
        """Return the task as it stands under its name in YAML."""
        said = {name: getattr(self, name) for name in _FIELDS}
        needs = list(self.needs)
        return {name: _json(value) for name, value in said.items() if value is not None} | (
            {"needs": _json(needs)} if needs else {}
        )


_FIELDS = (
    "description", "priority", "weight", "timeout", "lease", "grace", "deadline", "expect", "retry", "on_lost", "env",
    "stage", "job", "call",
)  # fmt: skip


class _References(Mapping[str, Reference]):
    """References by name: `params["year"]`."""

    def __init__(self, root: str, names: Iterable[str]) -> None:
        self._root, self._names = root, tuple(names)

    def __getitem__(self, name: str) -> Reference:
        if name not in self._names:
            raise KeyError(f"{self._root} has no {name!r}; it has {', '.join(self._names) or 'nothing'}")
        return Reference(self._root + _step(name))

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Workflow:
    """A workflow under construction."""

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        description: str | None = None,
        params: Mapping[str, Json] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.params = _References("params", params or {})
        """References to the parameters, by name."""
        self.run = _References("run", ("id", "logical_time", "owner", "workflow"))
        """References to what a run is."""
        self._top = {"workflow": name, "version": version, "description": description, "params": params}
        self._defaults = defaults
        self._tasks: dict[str, Task] = {}

    def task(self, name: str, **fields: Any) -> Task:
        """Make a task (see `Task` for its fields) and add it."""
        return self.add(Task(name, **fields))

    def add(self, task: Task) -> Task:
        """Add a task; raises InvalidWorkflow if the name is taken."""
        if task.name in self._tasks:
            raise InvalidWorkflow([f"tasks.{task.name}: the workflow has a task of this name; choose another"])
        self._tasks[task.name] = task
        return task

    def call(
        self,
        function: str,
        /,
        *,
        name: str | None = None,
        needs: Iterable[Task | str] = (),
        once: bool = False,
        task: Mapping[str, Any] | None = None,
        **args: Any,
    ) -> Task:
        """Add a call of `app.function` with these arguments.

        Its name is the function's unless given, with a number if that is taken. `task` holds further fields
        (`retry`, `timeout`, …). An argument named like one of these parameters needs `wf.task(…, call={…})`.
        """
        call = {"function": function} | ({"args": args} if args else {}) | ({"once": True} if once else {})
        return self.task(name or self._free_name(function.rpartition(".")[2]), call=call, needs=needs, **(task or {}))

    def _free_name(self, wanted: str) -> str:
        base = wanted.strip("_") or "call"
        name, n = base, 1
        while name in self._tasks:
            n += 1
            name = f"{base}-{n}"
        return name

    def definition(self) -> dict[str, Json]:
        """Return the definition, as YAML would give it."""
        top = {name: _json(value) for name, value in self._top.items() if value}
        if self._defaults:
            top["defaults"] = _json(self._defaults)
        return {**top, "tasks": {name: task.fields() for name, task in self._tasks.items()}}

    def parse(self) -> Definition:
        """Check the workflow; raises InvalidWorkflow with all its problems."""
        return Definition.parse(self.definition())

    def to_yaml(self) -> str:
        """Write the workflow as YAML."""
        return yaml.dump(
            self.definition(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
        )


def _json(value: Any) -> Json:
    """Turn what Python code says into what YAML would: references become templates, tasks their names."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, Task):
        return value.name
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, Reference) else key: _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return value


class _Dumper(yaml.SafeDumper):
    """Writes text so that `reading` reads the same text: in quotes where a word would mean something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the same list twice is written twice
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text and not any(line != line.rstrip() for line in text.split("\n")):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    style = None if isinstance(plain_value(text), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
