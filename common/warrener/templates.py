"""Templates: `{{ params.year }}` inside the text of a section.

The grammar is Jinja's, and Jinja parses it; but nothing of Jinja runs it. Only the nodes listed in `_RULES`
exist, and they are computed here on JSON values: a dot is a look-up in an object, never an attribute of a
Python object. So there is nothing to escape from (no calls, no classes, no loops), and every cost has a
bound: the length and depth of a template when it is compiled, and a budget of characters for all that one
section renders to.

A template that is a whole value keeps its type: `"{{ params.year }}"` is a number if the parameter is one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from warrener.filters import FILTERS, Budget, TemplateProblem, as_text, weigh
from warrener.problems import Path, Problem, join, meant

if TYPE_CHECKING:
    from warrener.messages import Json

OPEN = "{{"
MAX_TEMPLATE = 16 * 1024
"""The longest text that may hold a template, in characters."""
MAX_DEPTH = 40
"""The deepest nesting of one expression."""
RUN_FIELDS = ("id", "logical_time", "owner", "workflow")

_BLOCK = re.compile(
    r"\{%[-+]?\s*(?:for|if|elif|else|set|macro|block|include|import|from|extends|raw|call|with|end\w+)\b"
)
_HYPHEN = re.compile(r"\btasks\.(\w+-[\w-]+)")
_LARGEST = 2**63
# NUL never occurs in a definition: neither blocks nor comments exist, `${#list}` in a command is only text.
_GRAMMAR = Environment(
    block_start_string="\0%", block_end_string="%\0", comment_start_string="\0#", comment_end_string="#\0",
    keep_trailing_newline=True, autoescape=True,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class References:
    """What templates ask for, by name. `params` holds `*` where all parameters are asked for."""

    params: frozenset[str] = frozenset()
    run: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()

    def __or__(self, other: References) -> References:
        return References(self.params | other.params, self.run | other.run, self.tasks | other.tasks)


@dataclass(frozen=True, slots=True)
class Template:
    """A text with its expressions parsed and found harmless."""

    pieces: tuple[str | nodes.Expr, ...]
    asks: References

    def render(self, context: Mapping[str, Json], budget: Budget) -> Json:
        """Compute the value; raises TemplateProblem."""
        if len(self.pieces) == 1:
            piece = self.pieces[0]
            value = piece if isinstance(piece, str) else _value(piece, context, budget)
            weigh(value, budget)
            return value
        return "".join(
            budget.spend(piece if isinstance(piece, str) else as_text(_value(piece, context, budget), budget))
            for piece in self.pieces
        )


@lru_cache(maxsize=2048)
def compile_template(text: str) -> Template:
    """Parse a text with templates; raises TemplateProblem for whatever is not allowed."""
    if len(text) > MAX_TEMPLATE:
        raise TemplateProblem(f"a text with templates has at most {MAX_TEMPLATE} characters, this one {len(text)}")
    try:
        body = _GRAMMAR.parse(text).body
    except TemplateSyntaxError as error:
        raise TemplateProblem(f"{error.message} in {_excerpt(text)}") from error
    except (RecursionError, ValueError, MemoryError) as error:
        raise TemplateProblem(f"too deep or too large an expression in {_excerpt(text)}") from error
    pieces = tuple(_pieces(body))
    try:
        asks = _references(pieces)
    except TemplateProblem as problem:
        hint = _HYPHEN.search(text)
        also = f"; a name with '-' is written tasks['{hint[1]}']" if hint else ""
        raise TemplateProblem(f"{problem}{also}") from problem
    return Template(pieces, asks)


def refused_block(text: str) -> str | None:
    """Explain what is wrong with a text that tries a statement such as `{% for … %}`; None if it does not."""
    if _BLOCK.search(text):
        return "statements such as {% for %} and {% if %} are not part of templates; write {{ a if b else c }}"
    return None


def _excerpt(text: str) -> str:
    start = max(text.find(OPEN), 0)
    return repr(text[start : start + 60] + ("…" if len(text) > start + 60 else ""))


def _pieces(body: list[nodes.Node]) -> Iterator[str | nodes.Expr]:
    for output in body:
        assert isinstance(output, nodes.Output)  # there is no syntax for statements
        for node in output.nodes:
            yield node.data if isinstance(node, nodes.TemplateData) else node


# ── what an expression asks for, and that nothing else is in it ─────────────────────────────────────────────


def _references(pieces: tuple[str | nodes.Expr, ...]) -> References:
    found = References()
    for piece in pieces:
        if not isinstance(piece, str):
            found |= _scan(piece, 0)
    return found


def _scan(node: nodes.Node, depth: int) -> References:
    if depth > MAX_DEPTH:
        raise TemplateProblem(f"an expression is nested deeper than {MAX_DEPTH}")
    if isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)):
        return _scan_path(node, depth)
    if type(node) not in _RULES and not isinstance(node, (nodes.Pair, nodes.Operand)):
        raise TemplateProblem(f"{_REFUSED.get(type(node), type(node).__name__.lower())} is not part of templates")
    if isinstance(node, nodes.Filter):
        _check_filter(node)
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise TemplateProblem(f"unknown test 'is {node.name}'{meant(node.name, _TESTS)}")
    if isinstance(node, nodes.CondExpr) and node.expr2 is None:
        raise TemplateProblem("an 'if' inside a template needs its 'else'")
    found = References()
    for child in node.iter_child_nodes():
        found |= _scan(child, depth + 1)
    return found


def _check_filter(node: nodes.Filter) -> None:
    if node.name not in FILTERS:
        raise TemplateProblem(f"unknown filter '{node.name}'{meant(node.name, FILTERS)}")
    if node.kwargs or node.dyn_args or node.dyn_kwargs or len(node.args) not in FILTERS[node.name].arguments:
        raise TemplateProblem(f"the filter '{node.name}' is written {FILTERS[node.name].usage}")


def _scan_path(node: nodes.Node, depth: int) -> References:
    keys: list[Json] = []
    found = References()
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const):
            found |= _scan(node.arg, depth + 1)
            keys.insert(0, _DYNAMIC)
        else:
            keys.insert(0, node.attr if isinstance(node, nodes.Getattr) else node.arg.as_const())
        node = node.node
        depth += 1
    if depth > MAX_DEPTH:
        raise TemplateProblem(f"an expression is nested deeper than {MAX_DEPTH}")
    if not isinstance(node, nodes.Name):
        return found | _scan(node, depth)
    return found | _root(node.name, keys)


_DYNAMIC = object()


def _root(name: str, keys: list[Any]) -> References:
    first = keys[0] if keys else None
    if name == "params":
        return References(params=frozenset([first if isinstance(first, str) else "*"]))
    if name == "run":
        if first not in RUN_FIELDS:
            known = ", ".join(f"run.{field}" for field in RUN_FIELDS)
            raise TemplateProblem(f"'{join(('run', *keys[:1]))}' is not known here; there are {known}")
        return References(run=frozenset([str(first)]))
    if name == "tasks":
        if not isinstance(first, str) or keys[1:2] != ["output"]:
            raise TemplateProblem("of tasks, templates know tasks.NAME.output and what is in it")
        return References(tasks=frozenset([first]))
    if name == "attempt":
        raise TemplateProblem("'attempt' is not known here: a section is the same for every try")
    raise TemplateProblem(f"unknown name '{name}'{meant(name, _ROOTS)}; templates know params, run and tasks")


_ROOTS = ("params", "run", "tasks")

# ── computing a value ───────────────────────────────────────────────────────────────────────────────────────


class _Missing(TemplateProblem):
    """A name that is not there; `default` and `is defined` catch it."""


def _value(node: nodes.Node, context: Mapping[str, Json], budget: Budget) -> Json:
    try:
        return _RULES[type(node)](node, context, budget)
    except (TypeError, ArithmeticError, ValueError, RecursionError) as error:
        if isinstance(error, TemplateProblem):
            raise
        raise TemplateProblem(f"cannot be computed: {error}") from error


def _name(node: Any, context: Mapping[str, Json], _: Budget) -> Json:
    return context[node.name]


def _look_up(node: Any, context: Mapping[str, Json], budget: Budget) -> Json:
    holder = _value(node.node, context, budget)
    key = node.attr if isinstance(node, nodes.Getattr) else _value(node.arg, context, budget)
    if isinstance(holder, Mapping) and isinstance(key, str):
        if key in holder:
            return holder[key]
        raise _Missing(_lacks(node.node, holder, key))
    if isinstance(holder, (list, tuple)) and isinstance(key, int) and not isinstance(key, bool):
        if -len(holder) <= key < len(holder):
            return holder[key]
        raise _Missing(f"{_written(node.node)} has no item {key}: it has {len(holder)}")
    raise _Missing(f"{_written(node.node)} is {_sort(holder)}, so it has no '{str(key)[:60]}'")


def _lacks(node: nodes.Node, holder: Mapping[str, Json], key: str) -> str:
    if isinstance(node, nodes.Name) and node.name == "tasks":
        return f"there is no output of task '{key}'"
    return f"{_written(node)} has no '{key[:60]}'{meant(key, holder) or _contents(holder)}"


def _contents(holder: Mapping[str, Json]) -> str:
    names = [str(name)[:40] for name in list(holder)[:8]]
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
    arguments = [_value(argument, context, budget) for argument in node.args]
    try:
        value = _value(node.node, context, budget)
    except _Missing:
        if node.name == "default":
            return arguments[0]
        raise
    return FILTERS[node.name].compute(budget, value, *arguments)


def _test(node: Any, context: Mapping[str, Json], budget: Budget) -> bool:
    try:
        value = _value(node.node, context, budget)
    except _Missing:
        if node.name in ("defined", "undefined"):
            return bool(node.name == "undefined")
        raise
    return _TESTS[node.name](value)


_TESTS: dict[str, Callable[[Json], bool]] = {
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
    left = _value(node.expr, context, budget)
    for operand in node.ops:
        right = _value(operand.expr, context, budget)
        if not _COMPARISONS[operand.op](left, right):
            return False
        left = right
    return True


def _concat(node: Any, context: Mapping[str, Json], budget: Budget) -> str:
    return "".join(budget.spend(as_text(_value(part, context, budget), budget)) for part in node.nodes)


def _add(node: Any, context: Mapping[str, Json], budget: Budget) -> Json:
    left, right = _value(node.left, context, budget), _value(node.right, context, budget)
    if isinstance(left, str) and isinstance(right, str):
        return budget.spend(left + right)
    if isinstance(left, list) and isinstance(right, list):
        budget.take(len(left) + len(right))
        return left + right
    return _number(_operand(left) + _operand(right))


def _arithmetic(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Mapping[str, Json], Budget], Json]:
    def rule(node: Any, context: Mapping[str, Json], budget: Budget) -> Json:
        left, right = _value(node.left, context, budget), _value(node.right, context, budget)
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


_RULES: dict[type[nodes.Node], Callable[[Any, Mapping[str, Json], Budget], Json]] = {
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
    nodes.Neg: lambda node, c, b: -_operand(_value(node.node, c, b)),
    nodes.Not: lambda node, c, b: not _value(node.node, c, b),
    nodes.And: lambda node, c, b: _value(node.left, c, b) and _value(node.right, c, b),
    nodes.Or: lambda node, c, b: _value(node.left, c, b) or _value(node.right, c, b),
    nodes.CondExpr: lambda node, c, b: _value(node.expr1 if _value(node.test, c, b) else node.expr2, c, b),
    nodes.List: lambda node, c, b: [_value(item, c, b) for item in node.items],
    nodes.Tuple: lambda node, c, b: [_value(item, c, b) for item in node.items],
    nodes.Dict: lambda node, c, b: {as_text(_value(i.key, c, b), b): _value(i.value, c, b) for i in node.items},
}
"""Every node that may stand in a template. What is not here does not exist."""

_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Call: "calling a function",
    nodes.Pow: "raising to a power",
    nodes.Slice: "a slice",
}

# ── sections ────────────────────────────────────────────────────────────────────────────────────────────────


def texts(value: Json, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield every text within a JSON value, with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            yield from texts(item, (*path, n))


def render(
    value: Json,
    context: Mapping[str, Json],
    budget: Budget,
    path: Path,
    problems: list[Problem],
    *,
    later: bool = False,
) -> Json:
    """Return the value with every template in it rendered; what fails is appended to `problems`.

    `later`: templates that ask for outputs of tasks are left as they are.
    """
    if isinstance(value, str):
        return _render_text(value, context, budget, path, problems, later=later) if OPEN in value else value
    if isinstance(value, Mapping):
        return {key: render(item, context, budget, (*path, key), problems, later=later) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [render(item, context, budget, (*path, n), problems, later=later) for n, item in enumerate(value)]
    return value


def _render_text(
    text: str,
    context: Mapping[str, Json],
    budget: Budget,
    path: Path,
    problems: list[Problem],
    *,
    later: bool,
) -> Json:
    try:
        template = compile_template(text)
        if later and template.asks.tasks:
            return text
        return template.render(context, budget)
    except TemplateProblem as problem:
        problems.append(Problem(path, str(problem)))
        return text
