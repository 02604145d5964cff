"""The schema for editors says what the parser says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from warrener.errors import InvalidWorkflow
from warrener.reading import read_yaml
from warrener.retries import Retry
from warrener.sections import CallSection, EnvSection, JobSection, StageItem
from warrener.workflow_schema import json_schema
from warrener.workflows import Definition
from warrener.written import Defaults, Header, Param, TaskFields

SCHEMA = json_schema()
TYPES = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


def fits(value, schema):
    """Judge a value by the part of JSON Schema that the schema uses; another keyword is an error of this test."""
    return all(RULES[word](value, rule, schema) for word, rule in schema.items())


def is_type(value, rule, _):
    names = rule if isinstance(rule, list) else [rule]
    return any(isinstance(value, TYPES[n]) and (n == "boolean" or not isinstance(value, bool)) for n in names)


def reference(value, rule, _):
    return fits(value, SCHEMA["$defs"][rule.removeprefix("#/$defs/")])


def others(value, rule, schema):
    if not isinstance(value, dict):
        return True
    rest = [item for name, item in value.items() if name not in schema.get("properties", {})]
    return all(rule is not False and fits(item, rule) for item in rest)


def properties(value, rule, _):
    return not isinstance(value, dict) or all(fits(value[name], rule[name]) for name in rule if name in value)


RULES = {
    **dict.fromkeys(["$schema", "$defs", "title", "description", "default", "examples"], lambda *_: True),
    "$ref": reference,
    "type": is_type,
    "properties": properties,
    "additionalProperties": others,
    "required": lambda v, rule, _: not isinstance(v, dict) or all(name in v for name in rule),
    "propertyNames": lambda v, rule, _: not isinstance(v, dict) or all(fits(name, rule) for name in v),
    "minProperties": lambda v, rule, _: not isinstance(v, dict) or len(v) >= rule,
    "items": lambda v, rule, _: not isinstance(v, list) or all(fits(item, rule) for item in v),
    "minItems": lambda v, rule, _: not isinstance(v, list) or len(v) >= rule,
    "anyOf": lambda v, rule, _: any(fits(v, each) for each in rule),
    "oneOf": lambda v, rule, _: sum(fits(v, each) for each in rule) == 1,
    "enum": lambda v, rule, _: v in rule,
    "const": lambda v, rule, _: v == rule,
    "pattern": lambda v, rule, _: not isinstance(v, str) or re.search(rule, v) is not None,
    "maxLength": lambda v, rule, _: not isinstance(v, str) or len(v) <= rule,
    "minimum": lambda v, rule, _: not isinstance(v, (int, float)) or v >= rule,
    "maximum": lambda v, rule, _: not isinstance(v, (int, float)) or v <= rule,
}

SECTIONS = {
    "env": ["{}", "{requirements: [a==1], python: '3.11'}", "{lock: 'a==1 --hash=sha256:0'}"],
    "stage": ["[{from: 'https://h/x', to: x}, {from: x, to: 'file:y'}]"],
    "job": [
        "{argv: [a, 1, true, '{{ params.p }}'], env: {A: 1}, files: {a: b}}",
        "{shell: echo}",
        "{argv: '{{ params.p }}'}",
    ],
    "call": ["{function: a.b}", "{function: a.b, args: {x: [1]}, once: true}"],
}
TOPS = [
    "", "version: '1'", "description: d", "defaults: {retry: 3, timeout: 1h30m}",
    "defaults: {retry: {count: 1, delay: 0.5, backoff: 3, max_delay: 1d, on: [exit, refused]}}",
    "defaults: {weight: 3, on_lost: hold, lease: 5m}",
]  # fmt: skip
RIGHT = [
    f"workflow: w\nparams: {{p: x, q: {{type: list, required: false}}, r: null, s: {{default: 1}}}}\n{top}\n"
    f"tasks:\n  t: {{{kind}: {section}, priority: 0, grace: 5m, deadline: 10}}\n"
    for top in TOPS
    for kind, sections in SECTIONS.items()
    for section in sections
]
WRONG = [
    "tasks: {t: {job: {argv: [a]}}}",
    "workflow: W\ntasks: {t: {job: {argv: [a]}}}",
    "workflow: w\ntasks: {}",
    "workflow: w\nversion: 1\ntasks: {t: {job: {argv: [a]}}}",
    "workflow: w\nschedule: daily\ntasks: {t: {job: {argv: [a]}}}",
    "workflow: w\ntasks: {t: {}}",
    "workflow: w\ntasks: {t: {job: {argv: [a]}, call: {function: a.b}}}",
    "workflow: w\ntasks: {t: {job: {argv: [a], shell: b}}}",
    "workflow: w\ntasks: {t: {job: {}}}",
    "workflow: w\ntasks: {t: {job: {argv: [[a]]}}}",
    "workflow: w\ntasks: {t: {job: {argv: [a]}, priority: 10}}",
    "workflow: w\ntasks: {t: {job: {argv: [a]}, timeout: 5 parsecs}}",
    "workflow: w\ntasks: {t: {job: {argv: [a]}, retry: {cuont: 1}}}",
    "workflow: w\ntasks: {t: {job: {argv: [a]}, needs: a}}",
    "workflow: w\ntasks: {t: {stage: []}}",
    "workflow: w\ntasks: {t: {stage: [{from: a}]}}",
    "workflow: w\ntasks: {t: {env: {manager: conda}}}",
    "workflow: w\ntasks: {t: {call: {args: {}}}}",
    "workflow: w\ntasks: {'-': {job: {argv: [a]}}}",
    "workflow: w\nparams: {p: {type: int}}\ntasks: {t: {job: {argv: [a]}}}",
]


@pytest.mark.parametrize("text", RIGHT)
def test_what_the_parser_takes_the_schema_takes(text):
    value, _ = read_yaml(text, "x")
    Definition.parse(value)
    assert fits(value, SCHEMA)


@pytest.mark.parametrize("text", WRONG)
def test_what_the_schema_refuses_the_parser_refuses(text):
    value, _ = read_yaml(text, "x")
    assert not fits(value, SCHEMA)
    with pytest.raises(InvalidWorkflow):
        Definition.parse(value)


def test_every_example_fits():
    for path in sorted(Path(__file__).parents[2].glob("examples/**/*.y*ml")):
        value, _ = read_yaml(path.read_text(), path.name)
        if isinstance(value, dict) and "workflow" in value:
            Definition.parse(value)
            assert fits(value, SCHEMA), path


def fields(model):
    return {field.alias or name for name, field in model.model_fields.items()}


DEFS = SCHEMA["$defs"]


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        (SCHEMA, fields(Header)),
        (DEFS["task"], fields(TaskFields)),
        (SCHEMA["properties"]["defaults"], fields(Defaults)),
        (DEFS["retry"]["anyOf"][1], fields(Retry)),
        (DEFS["param"]["anyOf"][1], fields(Param)),
        (DEFS["env"], fields(EnvSection)),
        (DEFS["stage"]["items"], fields(StageItem)),
        (DEFS["job"], fields(JobSection) | {"shell"}),
        (DEFS["call"], fields(CallSection)),
    ],
)
def test_the_schema_has_the_fields_of_the_models(schema, names):
    assert schema["properties"].keys() == names


def test_the_schema_is_json():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
