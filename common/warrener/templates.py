"""Templates: `{{ params.year }}` inside the text of a section.

The grammar is Jinja's, and Jinja parses it; but nothing of Jinja runs it: `expressions` computes the few nodes that
exist. So there is nothing to escape from (no calls, no classes, no loops), and every cost has a bound: the length and
depth of a template when it is compiled, and a budget of characters for all that one section renders to.

A template that is a whole value keeps its type: `"{{ params.year }}"` is a number if the parameter is one. In a text
with templates every line end becomes a line feed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from warrener.expressions import RULES, TESTS, value_of
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
            value = piece if isinstance(piece, str) else value_of(piece, context, budget)
            weigh(value, budget)
            return value
        return "".join(
            budget.spend(piece if isinstance(piece, str) else as_text(value_of(piece, context, budget), budget))
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
    if type(node) not in RULES and not isinstance(node, (nodes.Pair, nodes.Operand)):
        raise TemplateProblem(f"{_REFUSED.get(type(node), type(node).__name__.lower())} is not part of templates")
    if isinstance(node, nodes.Filter):
        _check_filter(node)
    if isinstance(node, nodes.Test) and node.name not in TESTS:
        raise TemplateProblem(f"unknown test 'is {node.name}'{meant(node.name, TESTS)}")
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
