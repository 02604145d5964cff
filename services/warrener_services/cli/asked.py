"""What people type: `RUN`, `RUN/TASK`, `name=value`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warrener.errors import InvalidWorkflow, Refused
from warrener.messages import Json
from warrener.reading import read_workflow, read_yaml

if TYPE_CHECKING:
    from warrener.workflows import Definition

MAX_FILE_BYTES = 1024 * 1024


def split_task(text: str) -> tuple[str, str | None]:
    """Split `RUN/TASK`; without a task, the second part is None."""
    run, slash, task = text.partition("/")
    if not run or (slash and not task):
        raise Refused(f"{text!r} names no run; write RUN or RUN/TASK, as in 01h8xk2m/plot")
    return run, task or None


def read_definition(file: str) -> Definition:
    """Read a workflow from a file, or from stdin for `-`."""
    if file == "-":
        return read_workflow(sys.stdin.read(), "stdin")
    path = Path(file)
    if path.is_dir():
        raise InvalidWorkflow([f"{file}: is a folder; give the file of a workflow"])
    return read_workflow(path)


def read_params(definition: Definition, pairs: Sequence[str], file: Path | None) -> dict[str, Json]:
    """Read parameters from a file and from `name=value`, which wins; raises Refused."""
    params: dict[str, Json] = {} if file is None else _params_file(file)
    typed: set[str] = set()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Refused(f"-p {pair!r}: write a parameter as name=value")
        if name in typed:
            raise Refused(f"-p {pair!r}: {name} was given before; give each parameter once")
        typed.add(name)
        params[name] = _value(definition, name, text)
    return params


def _params_file(file: Path) -> dict[str, Json]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise Refused(f"--params {file}: cannot be read: {reason}") from error
    value, _ = read_yaml(text, str(file))
    if not isinstance(value, Mapping):
        raise Refused(f"--params {file}: expected a mapping of names to values")
    return dict(value)


def _value(definition: Definition, name: str, text: str) -> Json:
    """Read a value as the parameter's type says: text stays text, everything else is YAML."""
    param = definition.params.get(name)
    if param is not None and param.type == "string":
        return text
    try:
        return read_yaml(text, f"-p {name}")[0]
    except InvalidWorkflow as error:
        why = "; ".join(problem.partition(": ")[2] for problem in error.problems)
        raise Refused(f"-p {name}={text!r}: this is no YAML value: {why}") from error
