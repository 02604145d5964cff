"""Problems of what a person wrote: each with its place, in plain words, with the nearest known word."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

if typing.TYPE_CHECKING:
    from warrener.messages import Json

Path = tuple[str | int, ...]
"""Where something stands in a JSON value: the keys and positions that lead to it."""

MAX_DEPTH = 64
_SHORT = 40
_ITEMS_AT = 3
"""The deepest nesting of a definition or a parameter."""
_MAX_LISTED = 50
ENOUGH = 200
"""After so many problems the rest is not looked at closely: telling them well is what costs."""
_CANDIDATES = 300


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault, with its place."""

    path: Path
    says: str


def join(path: Iterable[object]) -> str:
    """Write a place as people do: `tasks.plot.job.argv[2]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step)}" if text else printable(step)
    return text


def as_written(path: Path) -> Path:
    """Turn a place in a section into the place where people wrote it: `stage` is the list of its items."""
    is_item = len(path) > _ITEMS_AT and path[0] == "tasks" and path[2 : _ITEMS_AT + 1] == ("stage", "items")
    return path[:_ITEMS_AT] + path[_ITEMS_AT + 1 :] if is_item else path


def dotted(path: Path) -> str:
    """Say where a problem is, for definitions that have no lines."""
    return join(path) or "the workflow"


def sentences(problems: Iterable[Problem], place: typing.Callable[[Path], str] = dotted) -> list[str]:
    """Write problems as sentences, a bounded number of them, without repetitions."""
    unique = list(dict.fromkeys(f"{place(as_written(problem.path))}: {problem.says}" for problem in problems))
    if len(unique) > _MAX_LISTED:
        return [*unique[:_MAX_LISTED], f"… and {len(unique) - _MAX_LISTED} more problems"]
    return unique


def meant(word: object, known: Iterable[object]) -> str:
    """Return `; did you mean 'x'?` if one of the known words is near, else nothing."""
    some = [str(name) for _, name in zip(range(_CANDIDATES), known, strict=False)]
    near = difflib.get_close_matches(str(word)[:100], some, n=1, cutoff=0.6)
    return f"; did you mean '{printable(near[0])}'?" if near else ""


def printable(word: object) -> str:
    """Return a name as it may stand in a sentence: bounded, and without signs that steer a terminal."""
    text = str(word)
    shown = "".join(letter if letter.isprintable() else "�" for letter in text[:60])
    return shown if len(text) <= len(shown) else f"{shown}…"


def show(value: Json) -> str:
    """Show a value within a sentence: its sort, and its beginning."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}" if abs(value) < 10**40 else "a huge number"
    return "a list" if isinstance(value, (list, tuple)) else "a mapping" if isinstance(value, Mapping) else "no JSON"


def not_json(value: Any, path: Path = ()) -> Iterator[Problem]:  # noqa: C901 - a branch for each sort of JSON
    """Yield what cannot travel or be stored: no JSON, too deep, or text that no database takes."""
    left: list[tuple[Any, Path]] = [(value, path)]
    while left:
        item, at = left.pop()
        if len(at) > MAX_DEPTH:
            yield Problem(at[:6], f"nested deeper than {MAX_DEPTH}")
        elif isinstance(item, str):
            yield from _unstorable(item, at)
        elif isinstance(item, dict):
            for key in item:
                if isinstance(key, str):
                    yield from _unstorable(key, at)
                else:
                    yield Problem(at, f"{show(key)} is used as a name; names are text, put it in quotes")
            left.extend((inner, (*at, str(key))) for key, inner in item.items())
        elif isinstance(item, (list, tuple)):
            left.extend((inner, (*at, n)) for n, inner in enumerate(item))
        elif isinstance(item, float) and not math.isfinite(item):
            yield Problem(at, "a number must be finite")
        elif isinstance(item, int) and abs(item) >= 2**63 and not isinstance(item, bool):
            yield Problem(at, "a whole number lies between -2^63 and 2^63; write a larger one as text")
        elif item is not None and not isinstance(item, (bool, int, float)):
            yield Problem(at, f"a Python {type(item).__name__} is no JSON value; use text, numbers, lists and mappings")


def _unstorable(text: str, path: Path) -> Iterator[Problem]:
    if "\0" in text:
        yield Problem(path, "text cannot contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        yield Problem(path, "text contains half a character (a lone surrogate)")


# ── pydantic's findings in plain words ──────────────────────────────────────────────────────────────────────

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "mapping_type": "a mapping",
}


def findings(error: ValidationError, model: type[BaseModel], path: Path) -> Iterator[tuple[Problem, Json]]:
    """Yield pydantic's findings in plain words, each with the value that it found fault with."""
    for found in error.errors(include_url=False)[:ENOUGH]:
        where = tuple(step for step in found["loc"] if step != "[key]")
        if found["type"] == "too_short" and found["input"]:
            continue  # its items were found wrong, each with a problem of its own
        if found["type"] == "extra_forbidden":
            says = f"unknown field '{printable(where[-1])}'{meant(where[-1], _fields(model, where[:-1]))}"
            yield Problem((*path, *where), says), None
        elif found["type"] == "missing":
            yield Problem((*path, *where[:-1]), f"the field '{where[-1]}' is missing"), None
        else:
            yield Problem((*path, *where), _in_words(dict(found))), found["input"]


def _in_words(found: dict[str, Any]) -> str:  # noqa: PLR0911 - one sentence for each sort of fault
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    if kind in _WANTED:
        quotes = " (put it in quotes)" if kind == "string_type" and isinstance(value, (int, float)) else ""
        listed = f"; write [{value}]" if kind == "tuple_type" and isinstance(value, str) and len(value) < _SHORT else ""
        return f"expected {_WANTED[kind]}, got {show(value)}{quotes}{listed}"
    if kind in ("literal_error", "enum"):
        return f"expected {context['expected']}, got {show(value)}{meant(value, _choices(context['expected']))}"
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith(("greater_than", "less_than")):
        return f"{found['msg'].replace('Input should be', 'must be')}, got {show(value)}"
    if kind == "string_pattern_mismatch":
        return f"{show(value)} is not written as it must be (pattern {context['pattern']})"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    return f"{found['msg']}, got {show(value)}"


def _choices(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _fields(model: type[BaseModel], where: tuple[str | int, ...]) -> list[str]:
    """List the fields of the model at a place within a model."""
    here: type[BaseModel] | None = model
    for step in where:
        if isinstance(step, int) or here is None:
            continue
        field = next((f for name, f in here.model_fields.items() if step in (name, f.alias)), None)
        here = _model_in(field.annotation) if field else None
    return [field.alias or name for name, field in here.model_fields.items()] if here else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := _model_in(part))), None)
