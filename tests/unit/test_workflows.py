"""Definitions, their problems, and the plans of runs."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from warrener.errors import Cause, InvalidWorkflow, TaskFailed
from warrener.retries import Retry
from warrener.workflows import (
    CallSection,
    Definition,
    EnvSection,
    JobSection,
    Policy,
    RunFacts,
    StageSection,
    needed_outputs,
    render_with_outputs,
)
from warrener.written import MAX_TASKS

RUN = RunFacts("0123456789abcdef", "ana", datetime(2026, 11, 21, tzinfo=UTC))
BUILT = {"path": "/e", "python": "/e/bin/python", "site_packages": "/e/lib", "digest": "d", "reused": True}
JOB = {"job": {"argv": ["true"]}}


def workflow(tasks, **top):
    return {"workflow": "w", "tasks": tasks, **top}


def plan(tasks, given=None, run=RUN, **top):
    return Definition.parse(workflow(tasks, **top)).plan(given or {}, run=run)


def problems(definition):
    with pytest.raises(InvalidWorkflow) as caught:
        Definition.parse(definition)
    return caught.value.problems


def only_problem(tasks, **top):
    found = problems(workflow(tasks, **top))
    assert len(found) == 1, found
    return found[0]


TASK_NAME_RULE = "a task's name has 1 to 128 letters, digits, - and _, and begins and ends with a letter or digit"
WEATHER = {
    "workflow": "seattle-weather",
    "version": "1",
    "description": "A plot of the weather.",
    "params": {"year": 2012, "title": {"type": "string", "description": "Above the plot."}},
    "defaults": {"retry": {"count": 3, "delay": "1m"}, "timeout": "10m", "priority": 5},
    "tasks": {
        "python": {"env": {"manager": "venv", "requirements": ["matplotlib==3.9.4"], "python": "3.11"}},
        "table": {
            "needs": ["python"],
            "stage": [
                {"from": "https://host/x.csv", "to": "data/x.csv", "sha256": "a" * 64},
                {"from": "out/plot.png", "to": "file:results/{{ params.year }}.png"},
            ],
        },
        "plot": {
            "needs": ["table"],
            "timeout": "5m",
            "retry": {"count": 2},
            "priority": 6,
            "weight": 2,
            "job": {
                "argv": ["python", "plot.py", "--year", "{{ params.year }}"],
                "env": {"KEY": "{{ params.title }}", "TOKEN": "secret://name", "N": 3, "DEBUG": True},
                "environment": "python",
                "files": {"plot.py": "print(f'{{1}}')"},
            },
        },
        "shell": {"job": {"shell": 'echo "$RUN" ${#RUN}', "env": {"RUN": "{{ run.id }} {{ run.logical_time }}"}}},
        "thumb": {
            "call": {"function": "images.thumbnail", "args": {"path": "{{ tasks.plot.output.path }}"}, "once": True}
        },
    },
}


def test_a_run_of_the_example_is_planned():
    planned = Definition.parse(WEATHER).plan({"title": "Rain"}, run=RUN)
    assert planned.name == "seattle-weather"
    assert planned.version == "1"
    assert planned.params == {"year": 2012, "title": "Rain"}
    python, table, plot, shell, thumb = planned.tasks
    assert [task.n for task in planned.tasks] == [0, 1, 2, 3, 4]
    assert [task.lane for task in planned.tasks] == ["env", "stage", "job", "job", "call.images"]
    assert [task.needs for task in planned.tasks] == [(), (0,), (0, 1), (), (2,)]
    assert [task.templated for task in planned.tasks] == [False, False, True, False, True]
    assert [task.priority for task in planned.tasks] == [5, 5, 6, 5, 5]
    assert (plot.weight, python.weight) == (2, 1)
    assert python.section == {"manager": "venv", "requirements": ["matplotlib==3.9.4"], "python": "3.11"}
    assert table.section["items"][1] == {"from": "out/plot.png", "to": "file:results/2012.png"}
    assert shell.section == {
        "argv": ["/bin/sh", "-c", 'echo "$RUN" ${#RUN}'],
        "env": {"RUN": "0123456789abcdef 2026-11-21T00:00:00+00:00"},
    }
    assert plot.policy == Policy(timeout_s=300, retry=Retry(count=2, delay=timedelta(minutes=1)))
    assert thumb.policy.once
    assert json.loads(plot.policy.model_dump_json(exclude_defaults=True)) == {
        "timeout_s": 300,
        "retry": {"count": 2, "delay": 60},
    }


def test_workers_read_the_bodies_with_the_same_models():
    python, table, plot, shell, thumb = Definition.parse(WEATHER).plan({"title": "Rain"}, run=RUN).tasks
    assert EnvSection.model_validate(python.section).python == "3.11"
    first, second = StageSection.model_validate(table.section).items
    assert (first.source, first.incoming, second.incoming) == ("https://host/x.csv", True, False)
    assert JobSection.model_validate(shell.section).argv[0] == "/bin/sh"
    job = JobSection.model_validate(render_with_outputs(plot.section, {"python": BUILT}))
    assert job.argv == ("python", "plot.py", "--year", "2012")
    assert job.env == {"KEY": "Rain", "TOKEN": "secret://name", "N": "3", "DEBUG": "true"}
    assert job.files == {"plot.py": "print(f'{{1}}')"}
    assert job.environment is not None
    assert job.environment.python == "/e/bin/python"
    call = CallSection.model_validate(render_with_outputs(thumb.section, {"plot": {"path": "p.png"}}))
    assert (call.app, call.args, call.once) == ("images", {"path": "p.png"}, True)


def test_sections_survive_json_between_planning_and_rendering():
    plot = Definition.parse(WEATHER).plan({"title": "Rain"}, run=RUN).tasks[2]
    assert needed_outputs(plot.section) == ("python",)
    stored = json.loads(json.dumps(plot.section))
    assert render_with_outputs(stored, {"python": BUILT}) == render_with_outputs(plot.section, {"python": BUILT})


def test_a_parameter_never_becomes_a_template():
    tasks = {
        "a": JOB,
        "b": {"job": {"argv": ["echo", "{{ params.text }}", "{{ tasks.a.output }}", "{{ params.text }}!"]}},
        "c": {"job": {"argv": ["echo", "{{ params.text }}"]}},
    }
    text = "{{ run.owner }} {% for %} {{ tasks.a.output }}"
    planned = plan(tasks, {"text": text}, params={"text": ""})
    assert render_with_outputs(planned.tasks[1].section, {"a": "{{ 1 }}"})["argv"] == [
        "echo",
        text,
        "{{ 1 }}",
        text + "!",
    ]
    assert planned.tasks[2].section["argv"] == ["echo", text]


def test_a_run_may_override_the_priority_of_its_tasks():
    assert [task.priority for task in plan({"a": JOB, "b": {**JOB, "priority": 9}}).tasks] == [4, 9]
    urgent = plan({"a": JOB, "b": {**JOB, "priority": 9}}, run=RunFacts("0123456789abcdef", "ana", priority=7))
    assert [task.priority for task in urgent.tasks] == [7, 7]


def test_defaults_hold_where_a_task_says_nothing():
    tasks = {"a": JOB, "b": {**JOB, "retry": {"delay": 1}}, "c": {**JOB, "retry": 0, "on_lost": "hold"}}
    a, b, c = plan(tasks, defaults={"retry": 3, "on_lost": "fail", "lease": "5m"}).tasks
    assert a.policy == Policy(retry=Retry(count=3), on_lost="fail", lease_s=300)
    assert b.policy.retry == Retry(count=3, delay=timedelta(seconds=1))
    assert (c.policy.retry.count, c.policy.on_lost) == (0, "hold")


def test_what_is_the_same_for_every_run_is_made_once():
    definition = Definition.parse(workflow({"a": JOB, "b": {"call": {"function": "x.y"}}}))
    assert definition.plan({}, run=RUN).tasks[0] is definition.plan({}, run=RUN).tasks[0]
    assert Definition.parse(workflow({"a": JOB, "b": {"call": {"function": "x.y"}}})) is definition


def test_the_digest_names_what_is_said_and_the_order_of_tasks():
    one = Definition.parse({"workflow": "w", "tasks": {"a": JOB, "b": JOB}})
    same = Definition.parse({"tasks": {"a": JOB, "b": JOB}, "workflow": "w"})
    turned = Definition.parse({"workflow": "w", "tasks": {"b": JOB, "a": JOB}})
    assert one.digest == same.digest
    assert len({one.digest, turned.digest}) == 2
    assert len(one.digest) == 64


# ── problems ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_problems_are_told_at_once():
    found = problems(
        {
            "workflow": "Bad Name",
            "version": 1.0,
            "tasks": {
                "a": {"need": ["b"], "job": {"argv": ["x"]}},
                "b": {"job": {"argvs": ["x"]}},
                "c": {"job": {"argv": ["{{ params.x }}"]}, "needs": ["bb"]},
                "-": JOB,
            },
        }
    )
    assert found == (
        "version: expected text, got the number 1.0 (put it in quotes)",
        "tasks.a.need: unknown field 'need'; did you mean 'needs'?",
        "tasks.b.job: the field 'argv' is missing",
        "tasks.b.job.argvs: unknown field 'argvs'; did you mean 'argv'?",
        f"tasks.-: '-' is no name: {TASK_NAME_RULE}",
        "tasks.c.job.argv[0]: params.x: the workflow has no such parameter",
        "tasks.c.needs[0]: there is no task 'bb'; did you mean 'b'?",
    )


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"job": {"argv": "ls"}}, "tasks.t.job.argv: expected a list, got the text 'ls'; write [ls]"),
        ({"job": {"argv": []}}, "tasks.t.job.argv: must not be empty"),
        ({"job": {"argv": [None]}}, "tasks.t.job.argv[0]: expected text, got nothing (null)"),
        ({"job": {"argv": ["a"], "shell": "b"}}, "tasks.t.job: has argv and shell; keep one of them"),
        ({"job": {"argv": ["a"], "files": {"../x": "y"}}}, "must be a path below the run's folder"),
        ({"job": {"argv": ["a"], "files": {"x": "y" * 300_000}}}, "more than 256 KiB"),
        ({"job": {"argv": ["a"], "env": {"A B": "y"}}}, "tasks.t.job.env.A B"),
        ({"job": ["a"]}, "tasks.t.job: expected a mapping, got a list"),
        ({"job": {"argv": ["a"], "container": "x"}}, "tasks.t.job.container: 'container' is not built yet"),
        ({"stage": []}, "tasks.t.stage: must not be empty"),
        ({"stage": {"from": "a"}}, "tasks.t.stage: expected a list of {from: …, to: …}, got a mapping"),
        ({"stage": [{"from": "a", "to": "b"}]}, "tasks.t.stage[0]: exactly one of from and to has a scheme"),
        ({"stage": [{"from": "https://a", "to": "s3://b"}]}, "tasks.t.stage[0]: exactly one of from and to"),
        ({"stage": [{"from": "https://a", "to": "/etc/passwd"}]}, "must be a path below the run's folder"),
        ({"stage": [{"from": "../x", "to": "file:y"}]}, "must be a path below the run's folder"),
        ({"stage": [{"from": "https://a", "to": "b", "sha256": "x"}]}, "64 of 0-9 and a-f"),
        ({"stage": [{"from": "b", "to": "file:x", "sha256": "a" * 64}]}, "leave it out of what goes out"),
        ({"stage": [{"frm": "https://a", "to": "b", "from": "x:y"}]}, "unknown field 'frm'; did you mean 'from'?"),
        ({"env": {"manager": "conda"}}, "tasks.t.env.manager: expected 'venv', got the text 'conda'"),
        ({"env": {"requirements": ["--index-url=x"]}}, "options do not belong here"),
        ({"env": {"python": 3.11}}, "tasks.t.env.python: expected text, got the number 3.11 (put it in quotes)"),
        ({"env": {"python": "latest"}}, "no version of Python such as '3.11'"),
        ({"call": {"function": "thumb"}}, "tasks.t.call.function: 'thumb' is no function such as images.thumbnail"),
        ({"call": {"function": "{{ params.x }}.y"}}, "is no function"),
        ({"call": {"function": "a.b", "once": "yes"}}, "tasks.t.call.once: expected true or false, got the text 'yes'"),
        ({**JOB, "priority": 12}, "tasks.t.priority: must be less than or equal to 9, got the number 12"),
        ({**JOB, "priority": True}, "tasks.t.priority: expected a whole number, got true"),
        ({**JOB, "weight": 0}, "tasks.t.weight: must be greater than or equal to 1"),
        ({**JOB, "timeout": "5 parsecs"}, "tasks.t.timeout: '5 parsecs' is not a duration; write"),
        ({**JOB, "timeout": 0}, "tasks.t.timeout: must be longer than 0"),
        ({**JOB, "timeout": "{{ params.t }}"}, "templates are allowed inside env, stage, job and call only"),
        ({**JOB, "on_lost": "retri"}, "did you mean 'retry'?"),
        ({**JOB, "retry": {"cuont": 1}}, "tasks.t.retry.cuont: unknown field 'cuont'; did you mean 'count'?"),
        ({**JOB, "retry": {"on": ["exitt"]}}, "tasks.t.retry.on[0]: expected 'exit', "),
        ({**JOB, "needs": "u"}, "tasks.t.needs: expected a list, got the text 'u'; write [u]"),
        ({**JOB, "class": "urgent"}, "tasks.t.class: 'class' is not built yet"),
        ({**JOB, "requires": {}}, "tasks.t.requires: 'requires' is not built yet"),
        ({**JOB, "call": {"function": "a.b"}}, "exactly one of env, stage, job, call; this one has job and call"),
        ({}, "exactly one of env, stage, job, call; this one does not say what it does"),
        ("ls", "tasks.t: expected a mapping with one of env, stage, job, call, got the text 'ls'"),
        ({"job": {"shell": "echo {{ params.x }}"}}, "tasks.t.job: shell: templates inside a script are refused"),
        ({"job": {"shell": ""}}, "expected the text of a script"),
        ({"job": {"argv": ["{% if x %}"]}}, "tasks.t.job.argv[0]: statements such as {% for %}"),
        ({"job": {"argv": ["{{ foo }}"]}}, "tasks.t.job.argv[0]: unknown name 'foo'"),
        ({"job": {"argv": ["x"], "environment": "tt"}}, "environment: expected an env task's name, got the text 'tt'"),
        ({"job": {"argv": ["x"], "environment": "t"}}, "tasks.t.job.environment: the task 't' is not an env task"),
        ({"job": {"argv": ["x"], "environment": {}}}, "environment: expected an env task's name, got a mapping"),
        ({"job": {"argv": ["a\0"]}}, "text cannot contain the character NUL"),
        ({"job": {"argv": [float("nan")]}}, "a number must be finite"),
        ({"call": {"function": "a.b", "args": {"x": 2**70}}}, "write a larger one as text"),
        ({"call": {"function": "a.b", "args": {"x": object()}}}, "a Python object is no JSON value"),
        ({"call": {"function": "a.b", "args": {1: 2}}}, "the number 1 is used as a name"),
        ({"call": {"function": "a.b", "args": {"x": "\ud800"}}}, "lone surrogate"),
    ],
)  # fmt: skip
def test_a_wrong_task_is_told_in_plain_words(task, says):
    assert says in only_problem({"t": task})


@pytest.mark.parametrize(
    ("top", "says"),
    [
        ({"shedule": "daily"}, "shedule: unknown field 'shedule'"),
        ({"schedule": "daily"}, "schedule: 'schedule' is not built yet"),
        ({"defaults": {"timeuot": 1}}, "defaults.timeuot: unknown field 'timeuot'; did you mean 'timeout'?"),
        ({"params": {"x": {"type": "int"}}}, "params.x.type: expected 'string', 'integer'"),
        ({"params": {"x": {"type": "integer", "default": "z"}}}, "default: expected a whole number, got the text 'z'"),
        ({"params": {"x": {"required": True, "default": 1}}}, "contradict"),
        ({"params": {"x y": 1}}, "'x y' is no name"),
        ({"workflow": "A"}, "workflow: 'A' is no name"),
        ({"tasks": {}}, "tasks: a workflow needs at least one task"),
        ({"tasks": []}, "tasks: expected a mapping, got a list"),
        ({"tasks": dict.fromkeys(map(str, range(MAX_TASKS + 1)), JOB)}, "a workflow has at most 100000"),
    ],
)  # fmt: skip
def test_a_wrong_top_is_told_in_plain_words(top, says):
    assert says in only_problem(**{"tasks": {"t": JOB}, **top})


@pytest.mark.parametrize("no_workflow", [None, [], "x", 1])
def test_what_is_no_mapping_is_refused(no_workflow):
    assert "a workflow is a mapping" in problems(no_workflow)[0]


def test_a_cycle_is_shown():
    tasks = {"a": {**JOB, "needs": ["b"]}, "b": {**JOB, "needs": ["c"]}, "c": {**JOB, "needs": ["a"]}, "d": JOB}
    assert "needs itself in a circle: a → b → c → a" in only_problem(tasks)


def test_a_task_that_needs_its_own_output_is_a_circle():
    assert "a → a" in only_problem({"a": {"job": {"argv": ["{{ tasks.a.output }}"]}}})


def test_a_long_chain_is_no_problem():
    tasks = {f"t{n}": {**JOB, "needs": [f"t{n + 1}"] if n < 4999 else []} for n in range(5000)}
    assert plan(tasks).tasks[0].needs == (1,)


@pytest.mark.parametrize(
    "task",
    [
        {**JOB, "nees": []},
        {**JOB, "needs": [f"nothing-{n}" for n in range(20)]},
        {"job": {"argv": ["{{ tasks.nothing.output }}"] * 20}},
        {"job": {"argv": [None] * 100, **{f"x{n}": 1 for n in range(100)}}},
    ],
)
def test_a_large_workflow_full_of_problems_is_refused_quickly(task):
    begin = time.perf_counter()
    assert len(problems(workflow({f"some-task-{n}": task for n in range(5000)}))) == 51
    assert time.perf_counter() - begin < 10


def test_many_problems_are_cut_with_their_number():
    found = problems(workflow({f"t{n}": {} for n in range(80)}))
    assert len(found) == 51
    assert found[-1] == "… and 30 more problems"


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────

PARAMS = {"year": 2012, "name": {"type": "string"}, "rate": {"type": "number", "default": 1}, "any": None}


def param_problems(given):
    with pytest.raises(InvalidWorkflow) as caught:
        plan({"t": JOB}, given, params=PARAMS)
    return caught.value.problems


def test_parameters_are_filled_in():
    assert plan({"t": JOB}, {"name": "x", "any": [1]}, params=PARAMS).params == {
        "year": 2012, "name": "x", "rate": 1, "any": [1],
    }  # fmt: skip


def test_wrong_parameters_are_told_all_at_once():
    assert param_problems({"yaer": 1, "year": "2013", "rate": True}) == (
        "params.yaer: the workflow has no such parameter; did you mean 'year'?",
        "params.year: expected a whole number, got the text '2013'",
        "params.name: this parameter is required, and none was given",
        "params.rate: expected a number, got true",
    )


def test_a_parameter_that_makes_a_wrong_section_is_refused_at_submission():
    with pytest.raises(InvalidWorkflow, match=r"tasks\.t\.stage\[0\]: '/etc/x' must be a path below"):
        plan({"t": {"stage": [{"from": "file:x", "to": "{{ params.to }}"}]}}, {"to": "/etc/x"}, params={"to": ""})
    tasks = {"t": {"job": {"argv": ["x", "{{ params.o.b }}", "{{ tasks.u.output }}"]}}, "u": JOB}
    with pytest.raises(InvalidWorkflow, match=r"tasks\.t\.job\.argv\[1\]: params.o has no 'b'; it has a"):
        plan(tasks, params={"o": {"type": "object", "default": {"a": 1}}})


# ── outputs ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({}, "task 'thumb', call.args.path: there is no output of task 'plot'"),
        ({"plot": None}, "task 'thumb', call.args.path: tasks.plot.output is null, so it has no 'path'"),
        ({"plot": {"pth": 1}}, "task 'thumb', call.args.path: tasks.plot.output has no 'path'; did you mean 'pth'?"),
    ],
)
def test_outputs_that_do_not_fit_fail_the_task_and_say_why(outputs, says):
    section = Definition.parse(WEATHER).plan({"title": ""}, run=RUN).tasks[4].section
    with pytest.raises(TaskFailed) as caught:
        render_with_outputs(section, outputs)
    assert caught.value.cause is Cause.TEMPLATE
    assert str(caught.value) == says


def test_an_output_of_the_wrong_type_is_told_with_its_field():
    section = plan({"a": JOB, "b": {"job": {"argv": ["{{ tasks.a.output }}"]}}}).tasks[1].section
    with pytest.raises(TaskFailed, match=r"task 'b', job\.argv\[0\]: expected text, got a list"):
        render_with_outputs(section, {"a": [1]})


def test_an_output_cannot_lead_out_of_the_run_folder():
    section = plan({"a": JOB, "b": {"stage": [{"from": "{{ tasks.a.output }}", "to": "file:x"}]}}).tasks[1].section
    with pytest.raises(TaskFailed, match=r"stage\[0\]: .* must be a path|stage\[0\]: exactly one"):
        render_with_outputs(section, {"a": "../../etc/passwd"})


def test_the_place_of_a_staged_item_is_the_one_that_was_written():
    section = plan({"a": JOB, "b": {"stage": [{"from": "{{ tasks.a.output.x }}", "to": "file:x"}]}}).tasks[1].section
    with pytest.raises(TaskFailed, match=r"task 'b', stage\[0\]\.from: tasks\.a\.output has no 'x'; it is empty"):
        render_with_outputs(section, {"a": {}})


def test_an_argument_list_may_be_one_template():
    section = plan({"a": JOB, "b": {"job": {"argv": "{{ tasks.a.output.argv }}"}}}).tasks[1].section
    assert render_with_outputs(section, {"a": {"argv": ["x", 1, 2.5, False]}})["argv"] == ["x", "1", "2.5", "false"]


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def graphs(draw, *, cyclic):
    count = draw(st.integers(1, 12))
    edges = draw(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=30))
    order = draw(st.permutations(range(count)))
    place = {n: i for i, n in enumerate(order)}
    return count, {(a, b) for a, b in edges if cyclic or place[a] > place[b]}


def as_tasks(count, edges):
    return {f"t{n}": {**JOB, "needs": [f"t{b}" for a, b in sorted(edges) if a == n]} for n in range(count)}


@given(graphs(cyclic=False))
def test_any_acyclic_graph_is_planned_and_its_needs_exist(graph):
    count, edges = graph
    planned = plan(as_tasks(count, edges))
    assert {(task.n, need) for task in planned.tasks for need in task.needs} == edges
    assert [task.name for task in planned.tasks] == [f"t{n}" for n in range(count)]
    done: set[int] = set()
    for _ in range(count):
        done |= {task.n for task in planned.tasks if done.issuperset(task.needs)}
    assert len(done) == count


@given(graphs(cyclic=True))
def test_a_reported_circle_is_real_and_none_is_overlooked(graph):
    count, edges = graph
    try:
        Definition.parse(workflow(as_tasks(count, edges)))
    except InvalidWorkflow as refused:
        shown = refused.problems[0].split("circle: ")[1].split(";")[0].split(" → ")
        steps = [int(name[1:]) for name in shown]
        assert steps[0] == steps[-1]
        assert set(pairwise(steps)) <= edges
    else:
        left = set(range(count))
        while ready := {n for n in left if not any(a == n and b in left for a, b in edges)}:
            left -= ready
        assert not left


FIELD = st.sampled_from(
    [
        "workflow",
        "version",
        "params",
        "defaults",
        "tasks",
        "needs",
        "retry",
        "timeout",
        "priority",
        "weight",
        "job",
        "env",
        "stage",
        "call",
        "argv",
        "shell",
        "from",
        "to",
        "function",
        "args",
        "once",
        "environment",
        "files",
        "requirements",
        "lock",
        "python",
        "type",
        "default",
        "required",
        "on",
        "count",
        "sha256",
        "class",
    ]
)
TEXT = st.text(max_size=6) | st.sampled_from(
    ["{{ params.x }}", "{{ tasks.a.output }}", "{{", "5m", "a", "b.c", "file:x", "{% if %}", "3.11", "secret://x", "\0"]
)
WORKFLOWISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELD | TEXT, inner, max_size=5),
    max_leaves=25,
)
SECTION = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["env", "stage", "job", "call", "needs", "retry"], WORKFLOWISH)
)
NEARLY = st.fixed_dictionaries(
    {"workflow": st.just("w"), "tasks": st.dictionaries(st.sampled_from("abc"), SECTION | WORKFLOWISH, max_size=3)},
    optional={"params": st.dictionaries(st.sampled_from("xy"), WORKFLOWISH, max_size=2), "defaults": WORKFLOWISH},
)


@given(WORKFLOWISH | NEARLY | JSON)
@example({"workflow": "w", "tasks": {"a": {"job": {"argv": [[[[[[[]]]]]]]}}}})
@example({"workflow": "w", "tasks": {"a": {"retry": {"backoff": 10**400}, "job": {}}}})
def test_any_json_is_a_workflow_or_an_invalid_one(definition):
    with suppress(InvalidWorkflow):
        Definition.parse(definition).plan({}, run=RUN)


@given(st.dictionaries(st.sampled_from(["a", "x"]), JSON))
def test_any_output_renders_or_fails_as_a_template(outputs):
    tasks = {
        "a": JOB,
        "b": {
            "call": {
                "function": "x.y",
                "args": {
                    "whole": "{{ tasks.a.output }}",
                    "text": "<{{ tasks.a.output }}>",
                    "sum": "{{ tasks.a.output + 1 }}",
                    "deep": "{{ tasks.a.output.x[0] | default(tasks.a.output | tojson) }}",
                },
            }
        },
    }
    section = plan(tasks).tasks[1].section
    with suppress(TaskFailed):
        assert render_with_outputs(section, outputs)["args"]["whole"] == outputs["a"]
