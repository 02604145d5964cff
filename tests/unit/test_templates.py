"""Templates: what they compute, and that nothing else can be done with them."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from warrener.filters import MAX_RENDERED, Budget, TemplateProblem
from warrener.templates import MAX_TEMPLATE, References, compile_template, refused_block

CONTEXT = {
    "params": {"year": 2012, "name": "Ana", "list": [1, 2], "none": None, "flag": True, "big": "x" * 60_000, "f": 0.5},
    "run": {"id": "0123456789abcdef", "logical_time": "2026-11-21T08:05:00+00:00", "owner": "me", "workflow": "w"},
    "tasks": {"plot": {"output": {"path": "out/plot.png", "items": [{"n": 7}], "keys": "k"}}, "a-b": {"output": 5}},
}


def value(text):
    return compile_template(text).render(CONTEXT, Budget())


def problem(text):
    with pytest.raises(TemplateProblem) as caught:
        value(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ params.year }}", 2012),
        ("{{params.year}}", 2012),
        ("{{ params.list }}", [1, 2]),
        ("{{ params.none }}", None),
        ("{{ params.flag }}", True),
        ("y{{ params.year }}", "y2012"),
        ("{{ params.year }}\n", "2012\n"),
        ("{{ params.flag }}!", "true!"),
        ("{{ params.list }}!", "[1, 2]!"),
        ("{{ params.year + 1 }}", 2013),
        ("{{ params.year / 2 }}", 1006.0),
        ("{{ params.year // 5 % 7 * 2 - 1 }}", 402 % 7 * 2 - 1),
        ("{{ -params.year }}", -2012),
        ("{{ params.name ~ '-' ~ params.year }}", "Ana-2012"),
        ("{{ params.name + 'x' }}", "Anax"),
        ("{{ params.list + [3] }}", [1, 2, 3]),
        ("{{ 'a' if params.year > 2000 else 'b' }}", "a"),
        ("{{ 1 < 2 <= 2 and not false or params.nothing }}", True),
        ("{{ 2 in params.list }}", True),
        ("{{ {'y': params.year, 'l': [1]} }}", {"y": 2012, "l": [1]}),
        ("{{ params['year'] }}", 2012),
        ("{{ tasks.plot.output.items[0].n }}", 7),
        ("{{ tasks.plot.output.keys }}", "k"),
        ("{{ tasks['a-b'].output }}", 5),
        ("{{ params.nothing | default('d') }}", "d"),
        ("{{ params.none | default('d') }}", "d"),
        ("{{ params.nothing is defined }}", False),
        ("{{ params.list | join('+') }}", "1+2"),
        ("{{ params.list | length }}", 2),
        ("{{ params.list | tojson }}", "[1, 2]"),
        ("{{ tasks.plot.output.path | basename | upper }}", "PLOT.PNG"),
        ("{{ params.name | replace('a', 'e') | lower | trim }}", "ane"),
        ("{{ run.logical_time | date }}", "2026-11-21"),
        ("{{ run.logical_time | date('%H%M') }}", "0805"),
        ("{{ '7' | int + params.list | first + params.list | last }}", 10),
        ("{{ '{{' }}", "{{"),
        ("{{ 2.345 | round(1) }}", 2.3),
        ("${#list[@]} ${x%y} {{ params.year }}", "${#list[@]} ${x%y} 2012"),
    ],
)
def test_a_template_computes_and_keeps_the_type_of_a_whole_value(text, expected):
    result = value(text)
    assert result == expected
    assert type(result) is type(expected)


def test_a_template_knows_what_it_asks_for():
    asks = compile_template("{{ params.a ~ run.id ~ tasks.x.output.y }} {{ tasks['z-1'].output[params.i] }}").asks
    assert asks == References(frozenset({"a", "i"}), frozenset({"id"}), frozenset({"x", "z-1"}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ params.yaer }}", ["params has no 'yaer'", "did you mean 'year'?"]),
        ("{{ tasks.plot.output.pth }}", ["tasks.plot.output has no 'pth'", "did you mean 'path'?"]),
        ("{{ tasks.plot.output.zzz }}", ["it has path, items, keys"]),
        ("{{ tasks.plot.output.items[3] }}", ["has no item 3: it has 1"]),
        ("{{ params['\\x1b[2J'] }}", ["params has no '�[2J'"]),
        ("{{ tasks.gone.output }}", ["no output of task 'gone'"]),
        ("{{ params.none.x }}", ["params.none is null"]),
        ("{{ params.year.x }}", ["params.year is a number, so it has no 'x'"]),
        ("{{ parms.year }}", ["unknown name 'parms'", "did you mean 'params'?"]),
        ("{{ attempt }}", ["'attempt' is not known here"]),
        ("{{ run.user }}", ["run.user", "run.owner"]),
        ("{{ tasks.plot.state }}", ["tasks.NAME.output"]),
        ("{{ tasks.a-b.output }}", ["tasks['a-b']"]),
        ("{{ params.year | uper }}", ["unknown filter 'uper'", "did you mean 'upper'?"]),
        ("{{ params.year | upper }}", ["the filter 'upper' needs text"]),
        ("{{ params.list | join('a', 'b') }}", ["is written join"]),
        ("a {{ params.none }}", ["null cannot stand inside a text"]),
        ("{{ params.name * 3 }}", ["arithmetic needs numbers, not text"]),
        ("{{ params.year / 0 }}", ["cannot be computed", "zero"]),
        ("{{ params.year < 'a' }}", ["cannot be computed"]),
        ("{{ 'a' if true }}", ["needs its 'else'"]),
        ("{{ params.year", ["unexpected end"]),
        ("{{ }}", ["Expected an expression"]),
        ("{{ params.list[1:] }}", ["a slice is not part of templates"]),
    ],
)
def test_a_problem_names_what_is_missing_and_the_nearest_known(text, words):
    says = problem(text)
    assert all(word in says for word in words), says


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ params.__class__.__mro__[1].__subclasses__() }}",
        "{{ params['__class__'] }}",
        "{{ params.list.append(1) }}",
        "{{ params.name.format(params) }}",
        "{{ '%s' % params.name }}",
        "{{ run.__init__.__globals__ }}",
        "{{ self }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__ }}",
        "{{ namespace() }}",
        "{{ range(999999999) }}",
        "{{ dict(a=1) }}",
        "{{ params | attr('__class__') }}",
        "{{ params.list | map('upper') | list }}",
        "{{ 'a' * 10**9 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ [1] * 1000000000 }}",
        "{{ config }}",
        "{{ params.name.upper() }}",
        "{{ ().__class__.__base__ }}",
    ],
)
def test_tricks_come_to_nothing(text):
    problem(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "[" * 3000 + "]" * 3000 + " }}",
        "{{ " + "not " * 3000 + "1 }}",
        "{{ " + "-" * 3000 + "1 }}",
        "{{ " + "1 + " * 3000 + "1 }}",
        "{{ params" + ".a" * 3000 + " }}",
        "{{ params" + "[params" * 1000 + "]" * 1000 + " }}",
        "{{ 1 " + "| string " * 1000 + " }}",
        "{{ " + "9" * 10_000 + " }}",
        "{{ " + "params.year * " * 39 + "params.year }}",
        "{{ " + " ~ ".join(["params.big"] * 1000) + " }}",
        "{{ [" + ", ".join(["params.big"] * 1000) + "] }}",
        "{{ [" + ", ".join(["params.big"] * 1000) + "] | tojson | length }}",
        "{{ [" + ", ".join(["params.big"] * 1000) + "] | join(params.big) | length }}",
        "{{ params.big | replace('x', params.big) | length }}",
        "{{ params.big | replace('', params.big) | length }}",
        "{{ params.big | int }}",
        "{{ run.logical_time | date('%9999999Y') }}",
        "x" * MAX_TEMPLATE + "{{ 1 }}",
        "{{ params.big }}" * 100,
    ],
)
def test_nothing_costs_much(text):
    begin = time.perf_counter()
    problem(text)
    assert time.perf_counter() - begin < 2


def test_what_a_section_renders_to_is_bounded():
    budget, template = Budget(), compile_template("{{ params.big }}")
    for _ in range(MAX_RENDERED // 60_001):
        template.render(CONTEXT, budget)
    with pytest.raises(TemplateProblem, match=str(MAX_RENDERED)):
        template.render(CONTEXT, budget)


@pytest.mark.parametrize("text", ["{% for a in b %}", "{%- if x %}y{% endif %}", "{% set x = 1 %}", "{%include 'x'%}"])
def test_statements_are_refused_with_what_to_write_instead(text):
    assert "are not part of templates" in (refused_block(text) or "")


@pytest.mark.parametrize("text", ["date +%Y", "{%d}", "awk '{print}'", "${x%.txt}"])
def test_other_percent_signs_are_text(text):
    assert refused_block(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "params",
        "run",
        "tasks",
        ".",
        ".",
        "[",
        "]",
        "(",
        ")",
        "'x'",
        "0",
        "1",
        "2.5",
        "+",
        "-",
        "*",
        "/",
        "~",
        "|",
        "|",
        "default",
        "join",
        "tojson",
        "int",
        "upper",
        "round",
        "first",
        "length",
        "date",
        "if",
        "else",
        "and",
        "or",
        "not",
        "in",
        "is",
        "defined",
        "==",
        "<",
        ",",
        ":",
        "{",
        "}",
        "x",
        "y",
        "a",
        "output",
        "true",
        "none",
        "\\",
        '"',
        "#",
        "%",
        "{{",
        "}}",
    ]
)
EXPRESSIONS = st.lists(WORDS, max_size=14).map(" ".join)


@given(EXPRESSIONS | st.text(max_size=30), JSON)
@example("params.x + params.x", {"x": 2**63})
@example("params.x | round", {"x": float("inf")})
@example("params.x in params.x", {"x": {}})
def test_any_expression_gives_json_or_a_template_problem(expression, params):
    with suppress(TemplateProblem):
        template = compile_template("{{ " + expression + " }}")
        json.dumps(template.render({"params": params, "run": {}, "tasks": {}}, Budget()), allow_nan=False)
