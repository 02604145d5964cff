"""Workflows from YAML: the same definition, and problems with their lines."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from warrener.errors import InvalidWorkflow
from warrener.reading import MAX_NODES, plain_value, read_workflow, read_yaml
from warrener.workflows import RunFacts

GOOD = """\
workflow: hello
params: {year: 2012}
defaults: &defaults
  retry: {count: 2, on: [exit]}
tasks:
  first:
    job:
      argv: [echo, "{{ params.year }}", 010, 1e3, no, 2020-01-01]
      files:
        a.py: |
          print("x")
  second:
    <<: *defaults
    needs: [first]
    job: {shell: 'echo "{}"'}
"""


def problems(text):
    with pytest.raises(InvalidWorkflow) as caught:
        read_workflow(text, "f.yaml")
    return caught.value.problems


def test_yaml_gives_the_same_definition_as_json():
    definition = read_workflow(GOOD, "f.yaml")
    assert read_workflow(json.dumps(definition.definition)).digest == definition.digest
    first, second = definition.plan({}, run=RunFacts("0123456789abcdef", "ana")).tasks
    assert first.section["argv"] == ["echo", "2012", "10", "1000.0", "no", "2020-01-01"]
    assert first.section["files"] == {"a.py": 'print("x")\n'}
    assert (second.policy.retry.count, second.needs) == (2, (0,))


def test_a_file_is_read_and_named_in_its_problems(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert read_workflow(path).name == "hello"
    path.write_text(GOOD.replace("needs:", "nees:"))
    with pytest.raises(InvalidWorkflow) as caught:
        read_workflow(path)
    assert caught.value.problems == (f"{path}:14: tasks.second.nees: unknown field 'nees'; did you mean 'needs'?",)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(InvalidWorkflow, match=r"none\.yaml: cannot be read: No such file"):
        read_workflow(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"workflow: \xff")
    with pytest.raises(InvalidWorkflow, match="no text in UTF-8"):
        read_workflow(tmp_path / "bytes.yaml")


def test_every_problem_has_its_line():
    text = """\
workflow: w
tasks:
  a:
    job:
      argv:
        - echo
        - "{{ params.x }}"
  b:
    needs: [a, c]
    stage:
      - {from: "https://x", to: y}
      - from: x
        to: y
"""
    first, *others = problems(text)
    assert first.startswith("f.yaml:12: tasks.b.stage[1]: exactly one of from and to has a scheme")
    assert others == [
        "f.yaml:7: tasks.a.job.argv[1]: params.x: the workflow has no such parameter",
        "f.yaml:9: tasks.b.needs[1]: there is no task 'c'",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "f.yaml: is empty; a workflow has workflow: and tasks:"),
        ("# nothing\n", "f.yaml: is empty"),
        ("- a", "f.yaml:1: a workflow is a mapping"),
        ("hello", "f.yaml:1: a workflow is a mapping"),
        ("workflow: w", "f.yaml:1: the field 'tasks' is missing"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3: 'a' is here a second time (first on line 1); remove one"),
        ("a:\n\tb: 1", "f.yaml:2: a tab"),
        ("a: b: c", "f.yaml:1: mapping values are not allowed in this context; is a colon"),
        ("a: [1", "did not find expected ',' or ']' (while parsing a flow sequence that begins on line 1)"),
        ("a: 'x", "f.yaml:1: found unexpected end of stream"),
        ("a: *b", "f.yaml:1: *b: there is no finished anchor &b"),
        ("a: &a [*a]", "f.yaml:1: *a: there is no finished anchor &a"),
        ("a: !!python/object/apply:os.system [id]", "is not part of workflows; remove it"),
        ("a: !!int x", "is not part of workflows; remove it"),
        ("a: 1\n---\nb: 2", "f.yaml:2: a second document begins here"),
        ("{[a]: b}", "f.yaml:1: a list or mapping cannot be a name"),
        ("<<: 1", "f.yaml:1: <<: takes a mapping"),
        ("a: " + "[" * 70 + "]" * 70, "f.yaml:1: nested deeper than 64"),
        ("[" * 100_000, "f.yaml:1: nested deeper than 64"),
        ("a: \x01", "f.yaml: is not YAML"),
        ("a: \ud800", "f.yaml: is not YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_told_with_its_line(text, says):
    found = problems(text)
    assert len(found) == 1
    assert says in found[0]


def test_only_a_plain_sign_of_merging_merges():
    assert read_yaml('{"<<": {a: 1}, c: 3}', "x")[0] == {"<<": {"a": 1}, "c": 3}
    assert read_yaml("{<<: [{b: 2}, {b: 4, d: 5}], c: 3}", "x")[0] == {"c": 3, "b": 2, "d": 5}


def test_a_bomb_of_anchors_is_stopped_early():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    begin = time.perf_counter()
    assert f"more than {MAX_NODES} values" in problems(bomb)[0]
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("true", True), ("True", "True"), ("", None), ("~", None), ("null", None),
        ("12", 12), ("-1", -1), ("010", 10), ("0x1f", "0x1f"), ("1:30", "1:30"), ("1_000", "1_000"), ("1.5", 1.5),
        (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("1.2.3", "1.2.3"), (".inf", ".inf"), (".", "."), ("e5", "e5"),
        ("2020-01-01", "2020-01-01"), ("10m", "10m"), ("٣", "٣"),
    ],
)  # fmt: skip
def test_plain_words_mean_what_they_mean_in_json(word, value):
    assert plain_value(word) == value
    assert type(plain_value(word)) is type(value)


# libyaml does not read JSON's pairs of surrogate escapes
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_is_yaml(value):
    assert read_yaml(json.dumps(value), "x")[0] == value


@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>'\"#%@`?,\n \t<", max_size=40) | JSON.map(yaml.safe_dump))
def test_any_text_is_a_workflow_or_an_invalid_one(text):
    with suppress(InvalidWorkflow):
        read_workflow(text, "f.yaml")
