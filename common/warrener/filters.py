"""The filters of templates (`{{ value | filter }}`) and the bound on what they may produce."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warrener.messages import Json

MAX_RENDERED = 1024 * 1024
"""How many characters all templates of one section may produce together, intermediate values included."""
MAX_VALUE_DEPTH = 64
_LONGEST_NUMBER = 40
_MOST_DIGITS = 15

_DATE_FORMAT = re.compile(r"(?:%[YmdHMSjyUVGuab%]|[^%]){1,64}")


class TemplateProblem(ValueError):
    """A template cannot be accepted, or cannot be rendered; the message says why."""


class Budget:
    """What the templates of one section may still produce, in characters."""

    def __init__(self, characters: int = MAX_RENDERED) -> None:
        self._left = characters

    def take(self, characters: int) -> None:
        """Use up some; raises TemplateProblem when nothing is left."""
        self._left -= characters
        if self._left < 0:
            raise TemplateProblem(f"templates of one task may produce at most {MAX_RENDERED} characters together")

    def spend(self, text: str) -> str:
        self.take(len(text))
        return text


def weigh(value: Json, budget: Budget) -> None:
    """Take what a JSON value weighs from the budget; also refuses what is no JSON or too deep."""
    left = [(value, 0)]
    while left:
        item, depth = left.pop()
        if depth > MAX_VALUE_DEPTH:
            raise TemplateProblem(f"a value is nested deeper than {MAX_VALUE_DEPTH}")
        if isinstance(item, str):
            budget.take(len(item) + 1)
        elif isinstance(item, Mapping):
            budget.take(sum(len(str(key)) + 1 for key in item) + 1)
            left.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, (list, tuple)):
            budget.take(len(item) + 1)
            left.extend((inner, depth + 1) for inner in item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise TemplateProblem("a number is infinite or not a number")
        elif isinstance(item, int):
            budget.take(item.bit_length() // 3 + 1)
        elif item is not None and not isinstance(item, float):
            raise TemplateProblem(f"a {type(item).__name__} is no JSON value")


def as_text(value: Json, budget: Budget) -> str:
    """Write a value inside a text: numbers and true/false as in JSON, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        raise TemplateProblem("null cannot stand inside a text; say what to use instead: {{ … | default('x') }}")
    return _tojson(budget, value)


def _tojson(budget: Budget, value: Json) -> str:
    weigh(value, budget)
    return budget.spend(json.dumps(value, ensure_ascii=False))


def _join(budget: Budget, value: Json, separator: Json = "") -> str:
    between = as_text(separator, budget)
    items = [as_text(item, budget) for item in _listed(value, "join")]
    budget.take(sum(map(len, items)) + len(between) * len(items))
    return between.join(items)


def _replace(budget: Budget, value: Json, old: Json, new: Json) -> str:
    text, what, instead = _worded(value, "replace"), _worded(old, "replace"), _worded(new, "replace")
    budget.take(len(text) + len(instead) * text.count(what))
    return text.replace(what, instead)


def _date(budget: Budget, value: Json, form: Json = "%Y-%m-%d") -> str:
    pattern = _worded(form, "date")
    if not _DATE_FORMAT.fullmatch(pattern):
        raise TemplateProblem("the format of 'date' has at most 64 signs, such as %Y-%m-%d or %H%M")
    return budget.spend(datetime.fromisoformat(_worded(value, "date")).strftime(pattern))


def _worded(value: Json, name: str) -> str:
    if not isinstance(value, str):
        raise TemplateProblem(f"the filter '{name}' needs text")
    return value


def _listed(value: Json, name: str) -> list[Json]:
    if not isinstance(value, (list, tuple)):
        raise TemplateProblem(f"the filter '{name}' needs a list")
    return list(value)


def _end(value: Json, name: str, place: int) -> Json:
    items = _listed(value, name)
    if not items:
        raise TemplateProblem(f"the filter '{name}' met an empty list")
    return items[place]


def _whole(value: Json) -> int:
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        raise TemplateProblem("the text is too long for a number")
    return int(value)


def _plain(value: Json) -> float:
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        raise TemplateProblem("the text is too long for a number")
    return float(value)


def _round(value: Json, digits: Json = 0) -> Json:
    if isinstance(value, str) or not isinstance(digits, int) or not 0 <= digits <= _MOST_DIGITS:
        raise TemplateProblem("the filter 'round' needs a number, and 0 to 15 digits")
    return round(value, digits) if digits else round(value)


def _basename(value: Json) -> str:
    return _worded(value, "basename").rstrip("/").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter: how it is written, how many arguments it takes, and what it computes."""

    usage: str
    arguments: range
    compute: Callable[..., Json]


FILTERS: dict[str, Filter] = {
    "default": Filter("default(value)", range(1, 2), lambda _, v, d: d if v is None else v),
    "tojson": Filter("tojson", range(1), _tojson),
    "string": Filter("string", range(1), lambda b, v: as_text(v, b)),
    "int": Filter("int", range(1), lambda _, v: _whole(v)),
    "float": Filter("float", range(1), lambda _, v: _plain(v)),
    "round": Filter("round or round(digits)", range(2), lambda _, v, *a: _round(v, *a)),
    "abs": Filter("abs", range(1), lambda _, v: abs(v)),
    "length": Filter("length", range(1), lambda _, v: len(v)),
    "first": Filter("first", range(1), lambda _, v: _end(v, "first", 0)),
    "last": Filter("last", range(1), lambda _, v: _end(v, "last", -1)),
    "join": Filter("join or join(', ')", range(2), _join),
    "lower": Filter("lower", range(1), lambda b, v: b.spend(_worded(v, "lower").lower())),
    "upper": Filter("upper", range(1), lambda b, v: b.spend(_worded(v, "upper").upper())),
    "trim": Filter("trim", range(1), lambda b, v: b.spend(_worded(v, "trim").strip())),
    "replace": Filter("replace(old, new)", range(2, 3), _replace),
    "basename": Filter("basename", range(1), lambda b, v: b.spend(_basename(v))),
    "date": Filter("date or date('%Y-%m-%d')", range(2), _date),
}
"""Every filter of templates."""
