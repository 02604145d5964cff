"""Workflows built in Python are the ones that YAML gives."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.building import Task, Workflow
from warrener.errors import InvalidWorkflow
from warrener.reading import read_workflow
from warrener.workflows import RunFacts, render_with_outputs

YAML = """\
workflow: weather
version: "1"
params: {year: 2012}
defaults: {timeout: 600}
tasks:
  python:
    env: {requirements: [numpy==2.1.3]}
  plot:
    retry: {count: 2, delay: 5}
    job:
      argv: [python, plot.py, "{{ params.year }}", "run-{{ run.id }}"]
      environment: python
      files: {plot.py: "import numpy\\n\\nprint('{{}}')\\n"}
    needs: [python]
  thumb:
    call:
      function: images.thumb
      args: {path: "{{ tasks.plot.output.path }}", first: "{{ tasks.plot.output['a-b'][0] }}"}
      once: true
"""


def weather():
    flow = Workflow("weather", version="1", params={"year": 2012}, defaults={"timeout": timedelta(minutes=10)})
    python = flow.task("python", env={"requirements": ["numpy==2.1.3"]})
    plot = Task(
        "plot",
        needs=[python],
        retry={"count": 2, "delay": timedelta(seconds=5)},
        job={
            "argv": ["python", "plot.py", flow.params["year"], f"run-{flow.run['id']}"],
            "environment": python,
            "files": {"plot.py": "import numpy\n\nprint('{{}}')\n"},
        },
    )
    flow.add(plot)
    flow.call("images.thumb", path=plot.output["path"], first=plot.output["a-b"][0], once=True)
    return flow


def test_the_builder_gives_the_same_definition_as_yaml():
    assert weather().definition() == read_workflow(YAML).definition


def test_what_is_written_as_yaml_is_read_as_the_same():
    assert read_workflow(weather().to_yaml()).digest == weather().parse().digest


def test_calls_are_named_after_their_function():
    flow = Workflow("w")
    names = [flow.call("app.count").name, flow.call("app.count", n=1).name, flow.call("app.count", name="x").name]
    assert names == ["count", "count-2", "x"]
    assert flow.parse().task_names == ("count", "count-2", "x")


def test_a_name_is_taken_once():
    flow = Workflow("w")
    flow.call("app.count", name="a")
    with pytest.raises(InvalidWorkflow, match=r"tasks\.a: the workflow has a task of this name"):
        flow.call("app.count", name="a")


def test_a_call_takes_the_fields_of_a_task():
    flow = Workflow("w")
    task = flow.call("app.count", task={"retry": 3, "timeout": timedelta(hours=1)})
    assert task.fields() == {"retry": 3, "timeout": 3600, "call": {"function": "app.count"}}


def test_an_unknown_parameter_is_refused_at_once():
    with pytest.raises(KeyError, match="params has no 'yaer'; it has year"):
        weather().params["yaer"]


def test_a_reference_is_not_a_value():
    with pytest.raises(TypeError, match="known only when the task runs"):
        list(Task("a").output)


def test_problems_are_told_when_the_workflow_is_parsed():
    flow = Workflow("w")
    flow.task("a", job={"argvs": ["x"]})
    with pytest.raises(InvalidWorkflow, match="did you mean 'argv'"):
        flow.parse()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["on", "1e3", "010", "null", "~", "", "true", "2020-01-01", "a\nb\n", " a\n", "a\n\n", "- a", "#", "a: b", "\t"]
)


@given(st.dictionaries(TEXT, TEXT | st.lists(TEXT | st.integers(-9, 9) | st.floats(-9, 9)), max_size=5))
def test_any_text_survives_yaml(args):
    flow = Workflow("w", description="Ünïcode")
    flow.task("a", call={"function": "x.y", "args": {"inner": args}})
    if any("{" in text for text in str(args)):
        return  # templates are judged elsewhere
    assert read_workflow(flow.to_yaml()).definition == flow.definition()


@given(st.lists(TEXT | st.integers(0, 3), min_size=1, max_size=3))
def test_any_step_into_an_output_finds_its_value(steps):
    flow = Workflow("w")
    reference, value = flow.task("a", job={"argv": ["x"]}).output, "found"
    for step in steps:
        reference = reference[step]
    for step in reversed(steps):
        value = {step: value} if isinstance(step, str) else [None] * step + [value]
    flow.call("x.y", it=reference, name="b")
    section = flow.parse().plan({}, run=RunFacts("0123456789abcdef", "ana")).tasks[1].section
    assert render_with_outputs(section, {"a": value})["args"] == {"it": "found"}


def test_an_expectation_is_a_duration_of_the_task_or_of_all() -> None:
    wf = Workflow("w", defaults={"expect": timedelta(minutes=2)})
    wf.task("own", expect="1.5s", job={"argv": ["a"]})
    wf.task("general", job={"argv": ["a"]})
    tasks = wf.parse().plan({}, run=RunFacts(id="r", owner="me")).tasks
    assert [task.policy.expect_s for task in tasks] == [1.5, 120]


@pytest.mark.parametrize("expect", ["soon", -1, True])
def test_a_strange_expectation_is_refused(expect: object) -> None:
    wf = Workflow("w")
    wf.task("a", expect=expect, job={"argv": ["a"]})
    with pytest.raises(InvalidWorkflow, match=r"tasks\.a\.expect: "):
        wf.parse()
