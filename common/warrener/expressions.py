"""Computing what stands between `{{` and `}}`, on JSON values only.

Jinja's parser gives the tree, `RULES` says how each node is computed; a node without a rule does not exist. A dot is a
look-up in an object, never an attribute of a Python object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import nodes

from warrener.filters import FILTERS, Budget, TemplateProblem, as_text
from warrener.problems import meant, printable

if TYPE_CHECKING:
    from warrener.messages import Json

_LARGEST = 2**63


class _Missing(TemplateProblem):
    """A name that is not there; `default` and `is defined` catch it."""


def value_of(node: nodes.Node, context: Mapping[str, Json], budget: Budget) -> Json:
    """Compute a node that was found harmless; raises TemplateProblem, and nothing else."""
    try:
        return RULES[type(node)](node, context, budget)
    except (TypeError, ArithmeticError, ValueError, RecursionError) as error:
        if isinstance(error, TemplateProblem):
            raise
        raise TemplateProblem(f"cannot be computed: {error}") from error


def _name(node: Any, context: Mapping[str, Json], _: Budget) -> Json:
    return context[node.name]


def _look_up(node: Any, context: Mapping[str, Json], budget: Budget) -> Json:
    holder = value_of(node.node, context, budget)
    key = node.attr if isinstance(node, nodes.Getattr) else value_of(node.arg, context, budget)
    if isinstance(holder, Mapping) and isinstance(key, str):
        if key in holder:
            return holder[key]
        raise _Missing(_lacks(node.node, holder, key))
    if isinstance(holder, (list, tuple)) and isinstance(key, int) and not isinstance(key, bool):
        if -len(holder) <= key < len(holder):
            return holder[key]
        raise _Missing(f"{_written(node.node)} has no item {key}: it has {len(holder)}")
    raise _Missing(f"{_written(node.node)} is {_sort(holder)}, so it has no '{printable(key)}'")


def _lacks(node: nodes.Node, holder: Mapping[str, Json], key: str) -> str:
    if isinstance(node, nodes.Name) and node.name == "tasks":
        return f"there is no output of task '{printable(key)}'"
    return f"{_written(node)} has no '{printable(key)}'{meant(key, holder) or _contents(holder)}"


def _contents(holder: Mapping[str, Json]) -> str:
    names = [printable(name) for name in list(holder)[:8]]
    more = ", …" if len(holder) > len(names) else ""
    return f"; it has {', '.join(names)}{more}" if names else "; it is empty"


def _written(node: nodes.Node) -> str:
    """Return an expression as it is written, as far as it is a path."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return f"{_written(node.node)}.{node.attr}"
    if isinstance(node, nodes.Getitem):
        key = repr(node.arg.value) if isinstance(node.arg, nodes.Const) else "…"
        return f"{_written(node.node)}[{key}]"
    return "the value"


def _sort(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    return (
        "a number" if isinstance(value, (int, float)) else "a list" if isinstance(value, (list, tuple)) else "an object"
    )


def _filter(node: Any, context: Mapping[str, Json], budget: Budget) -> Json:
    arguments = [value_of(argument, context, budget) for argument in node.args]
    try:
        value = value_of(node.node, context, budget)
    except _Missing:
        if node.name == "default":
            return arguments[0]
        raise
    return FILTERS[node.name].compute(budget, value, *arguments)


def _test(node: Any, context: Mapping[str, Json], budget: Budget) -> bool:
    try:
        value = value_of(node.node, context, budget)
    except _Missing:
        if node.name in ("defined", "undefined"):
            return bool(node.name == "undefined")
        raise
    return TESTS[node.name](value)


TESTS: dict[str, Callable[[Json], bool]] = {
    "defined": lambda _: True,
    "undefined": lambda _: False,
    "none": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
    "lt": lambda a, b: bool(a < b),
    "lteq": lambda a, b: bool(a <= b),
    "gt": lambda a, b: bool(a > b),
    "gteq": lambda a, b: bool(a >= b),
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}


def _compare(node: Any, context: Mapping[str, Json], budget: Budget) -> bool:
    left = value_of(node.expr, context, budget)
    for operand in node.ops:
        right = value_of(operand.expr, context, budget)
        if not _COMPARISONS[operand.op](left, right):
            return False
        left = right
    return True


def _concat(node: Any, context: Mapping[str, Json], budget: Budget) -> str:
    return "".join(budget.spend(as_text(value_of(part, context, budget), budget)) for part in node.nodes)


def _add(node: Any, context: Mapping[str, Json], budget: Budget) -> Json:
    left, right = value_of(node.left, context, budget), value_of(node.right, context, budget)
    if isinstance(left, str) and isinstance(right, str):
        return budget.spend(left + right)
    if isinstance(left, list) and isinstance(right, list):
        budget.take(len(left) + len(right))
        return left + right
    return _number(_operand(left) + _operand(right))


def _arithmetic(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Mapping[str, Json], Budget], Json]:
    def rule(node: Any, context: Mapping[str, Json], budget: Budget) -> Json:
        left, right = value_of(node.left, context, budget), value_of(node.right, context, budget)
        return _number(compute(_operand(left), _operand(right)))

    return rule


def _operand(value: Json) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TemplateProblem(f"arithmetic needs numbers, not {_sort(value)}")
    return _number(value)


def _number(value: Any) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise TemplateProblem("a number is infinite or not a number")
    if abs(value) > _LARGEST:
        raise TemplateProblem("a number is larger than 2^63")
    return value  # type: ignore[no-any-return]


RULES: dict[type[nodes.Node], Callable[[Any, Mapping[str, Json], Budget], Json]] = {
    nodes.Const: lambda node, _context, _budget: node.value,
    nodes.TemplateData: lambda node, _context, _budget: node.data,
    nodes.Name: _name,
    nodes.Getattr: _look_up,
    nodes.Getitem: _look_up,
    nodes.Filter: _filter,
    nodes.Test: _test,
    nodes.Compare: _compare,
    nodes.Concat: _concat,
    nodes.Add: _add,
    nodes.Sub: _arithmetic(lambda a, b: a - b),
    nodes.Mul: _arithmetic(lambda a, b: a * b),
    nodes.Div: _arithmetic(lambda a, b: a / b),
    nodes.FloorDiv: _arithmetic(lambda a, b: a // b),
    nodes.Mod: _arithmetic(lambda a, b: a % b),
    nodes.Neg: lambda node, c, b: -_operand(value_of(node.node, c, b)),
    nodes.Not: lambda node, c, b: not value_of(node.node, c, b),
    nodes.And: lambda node, c, b: value_of(node.left, c, b) and value_of(node.right, c, b),
    nodes.Or: lambda node, c, b: value_of(node.left, c, b) or value_of(node.right, c, b),
    nodes.CondExpr: lambda node, c, b: value_of(node.expr1 if value_of(node.test, c, b) else node.expr2, c, b),
    nodes.List: lambda node, c, b: [value_of(item, c, b) for item in node.items],
    nodes.Tuple: lambda node, c, b: [value_of(item, c, b) for item in node.items],
    nodes.Dict: lambda node, c, b: {as_text(value_of(i.key, c, b), b): value_of(i.value, c, b) for i in node.items},
}
"""Every node that may stand in a template. What is not here does not exist."""
