"""Reading workflows from YAML, with the line of every problem.

The tree is built from YAML's events, without recursion and within bounds, because a file may come from
anybody: no tags, no duplicate names, a limit on depth, and a limit on what anchors multiply to. Plain words
mean what they mean in YAML 1.2 and JSON: only `true` and `false` are booleans (`on` and `no` are text), a
date is text, `010` is ten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import yaml

from warrener.errors import InvalidWorkflow
from warrener.problems import MAX_DEPTH, Path, join
from warrener.workflows import Definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from warrener.messages import Json

MAX_TEXT = 64 * 1024 * 1024
"""The longest file, in characters."""
MAX_NODES = 2_000_000
"""How many values a file may hold, anchors counted as often as they are used."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,4})?")
_WORDS: dict[str, Json] = {"": None, "~": None, "null": None, "true": True, "false": False}
_STRING_TAGS = {"!", "tag:yaml.org,2002:str"}
_PROBLEMS = ("could not find expected ':'", "mapping values are not allowed")


def read_workflow(path_or_text: FilePath | str, source: str | None = None) -> Definition:
    """Read a workflow from a file (a Path) or from the text itself (a str).

    Raises InvalidWorkflow with all problems as `source:line: where: what`; `source` defaults to the path as
    given.
    """
    if isinstance(path_or_text, FilePath):
        name = source or str(path_or_text)
        text = _file_text(path_or_text, name)
    else:
        name, text = source or "workflow", path_or_text
    value, lines = read_yaml(text, name)
    if value is None:
        raise InvalidWorkflow([f"{name}: is empty; a workflow has workflow: and tasks:"])
    if not isinstance(value, dict):
        raise InvalidWorkflow([f"{name}:1: a workflow is a mapping with workflow: and tasks:"])
    return Definition.parse(value, place=_places(name, lines))


def _file_text(path: FilePath, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidWorkflow([f"{name}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise InvalidWorkflow([f"{name}: is no text in UTF-8 (byte {error.start})"]) from error


def _places(name: str, lines: dict[Path, int]) -> Callable[[Path], str]:
    def place(path: Path) -> str:
        known = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in lines), ())
        where = f"{name}:{lines.get(known, 1)}"
        return f"{where}: {join(path)}" if path else where

    return place


def read_yaml(text: str, name: str) -> tuple[Json, dict[Path, int]]:
    """Read YAML to JSON and the line of every place in it; raises InvalidWorkflow for what is no plain YAML."""
    if len(text) > MAX_TEXT:
        raise InvalidWorkflow([f"{name}: {len(text)} characters; a workflow file has at most {MAX_TEXT}"])
    tree = _Tree()
    try:
        for event in _events(text):
            tree.take(event)
    except _NotPlain as fault:
        raise InvalidWorkflow([f"{name}:{fault.line}: {fault}"]) from fault
    except yaml.MarkedYAMLError as error:
        raise InvalidWorkflow([f"{name}:{_line(error.problem_mark)}: {_in_words(error)}"]) from error
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise InvalidWorkflow([f"{name}: is not YAML: {str(error).splitlines()[0]}"]) from error
    return tree.value, tree.lines


def _events(text: str) -> Iterator[yaml.Event]:
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
    return events


def _line(mark: Any) -> int:
    return int(mark.line) + 1 if mark else 1


def _in_words(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or "is not YAML")
    if "'\\t'" in problem or "cannot start any token" in problem:
        return "a tab or a reserved sign begins a word here; indent with spaces, and put text with signs in quotes"
    if any(words in problem for words in _PROBLEMS):
        return f"{problem}; is a colon or its space missing, or does text with a colon need quotes?"
    began = f" that begins on line {_line(error.context_mark)}" if error.context_mark else ""
    return f"{problem} ({error.context}{began})" if error.context else problem


class _NotPlain(Exception):
    def __init__(self, event: yaml.Event, message: str) -> None:
        super().__init__(message)
        self.line = _line(event.start_mark)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come. `key` is the name that waits for its value."""

    value: dict[str, Json] | list[Json]
    path: Path
    anchor: str | None
    first_node: int
    key: str | None = None
    merging: bool = False
    merged: list[dict[str, Json]] = field(default_factory=list)


_MERGE = "<<"


class _Tree:
    """Builds the value of one document from its events."""

    def __init__(self) -> None:
        self.value: Json = None
        self.lines: dict[Path, int] = {}
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Json, int]] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._begin(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _NotPlain(event, "a second document begins here; keep one workflow in a file")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        inside = self._open[-1] if self._open else None
        self._count(event, 1)
        if inside and isinstance(inside.value, dict) and inside.key is None:
            self._name(event, inside, inside.value)
            return
        self._place(event)
        value = self._scalar_value(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(event, value)

    def _name(self, event: yaml.ScalarEvent, inside: _Open, mapping: dict[str, Json]) -> None:
        key: str = event.value
        if event.anchor:
            self._anchors[event.anchor] = (key, 1)
        if key in mapping:
            first = self.lines[(*inside.path, key)]
            raise _NotPlain(event, f"'{key[:60]}' is here a second time (first on line {first}); remove one")
        inside.key = key
        inside.merging = key == _MERGE and event.implicit[0]
        self.lines[(*inside.path, key)] = _line(event.start_mark)

    def _scalar_value(self, event: yaml.ScalarEvent) -> Json:
        if event.tag is not None and event.tag not in _STRING_TAGS:
            raise _NotPlain(event, f"the tag {event.tag[:60]} is not part of workflows; remove it")
        if event.tag is not None or not event.implicit[0]:
            return event.value
        return plain_value(event.value)

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if event.tag is not None and not event.implicit:
            raise _NotPlain(event, f"the tag {event.tag[:60]} is not part of workflows; remove it")
        inside = self._open[-1] if self._open else None
        if inside and isinstance(inside.value, dict) and inside.key is None:
            raise _NotPlain(event, "a list or mapping cannot be a name; put names in quotes if they begin with { or [")
        if len(self._open) >= MAX_DEPTH:
            raise _NotPlain(event, f"nested deeper than {MAX_DEPTH}")
        self._count(event, 1)
        path = self._place(event)
        value: dict[str, Json] | list[Json] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._open.append(_Open(value, path, event.anchor, self._nodes))

    def _end(self, event: yaml.Event) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            for merged in done.merged:
                for name, value in merged.items():
                    done.value.setdefault(name, value)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, self._nodes - done.first_node + 1)
        self._put(event, done.value)

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        if name not in self._anchors:
            raise _NotPlain(event, f"*{name[:60]}: there is no finished anchor &{name[:60]} before this line")
        value, nodes = self._anchors[name]
        inside = self._open[-1] if self._open else None
        if inside and isinstance(inside.value, dict) and inside.key is None:
            raise _NotPlain(event, "an alias cannot be a name; write the name")
        self._count(event, nodes)
        self._place(event)
        self._put(event, value)

    def _count(self, event: yaml.Event, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _NotPlain(event, f"more than {MAX_NODES} values, anchors counted as often as they are used")

    def _place(self, event: yaml.Event) -> Path:
        """Say where the value that begins now belongs, and note its line."""
        if not self._open:
            path: Path = ()
        else:
            inside = self._open[-1]
            step = inside.key if isinstance(inside.value, dict) else len(inside.value)
            assert step is not None
            path = (*inside.path, step)
        self.lines.setdefault(path, _line(event.start_mark))
        return path

    def _put(self, event: yaml.Event, value: Json) -> None:
        if not self._open:
            self.value = value
            return
        inside = self._open[-1]
        if isinstance(inside.value, list):
            inside.value.append(value)
            return
        assert inside.key is not None
        if inside.merging:
            inside.merged.extend(_mappings(event, value))
        else:
            inside.value[inside.key] = value
        inside.key = None


def _mappings(event: yaml.Event, value: Json) -> list[dict[str, Json]]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in found):
        raise _NotPlain(event, "<<: takes a mapping, or a list of mappings")
    return found


def plain_value(text: str) -> Json:
    """Return what a word without quotes means: null, true, false, a number, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
