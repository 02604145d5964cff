"""Executions in WfFormat become workflows that last as long; what is wrong with a document is said in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from warrener import replay as app
from warrener.errors import InvalidWorkflow
from warrener.wfformat import Execution, Ran, read_execution, replay


def document(
    *tasks: tuple[str, list[str]], seconds: dict[str, Any] | None = None, version: Any = "1.5"
) -> dict[str, Any]:
    """Write a document of tasks with their parents; each ran for a second unless told otherwise."""
    children = {name: [child for child, parents in tasks if name in parents] for name, _ in tasks}
    specified = [{"name": n, "id": n, "parents": p, "children": children[n]} for n, p in tasks]
    lasted = dict.fromkeys((name for name, _ in tasks), 1.0) if seconds is None else seconds
    executed = [{"id": n, "runtimeInSeconds": s, "command": {"program": "x"}} for n, s in lasted.items()]
    return {
        "name": "Montage-0.5", "schemaVersion": version, "author": {"name": "somebody"},
        "workflow": {
            "specification": {"tasks": specified, "files": [{"id": "f", "sizeInBytes": 1}]},
            "execution": {"makespanInSeconds": 9, "tasks": executed, "machines": []},
        },
    }  # fmt: skip


DIAMOND = document(("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["b", "c"]), seconds={"a": 1, "b": 2.5, "c": 0, "d": 4})


def read(value: Any) -> Execution:
    return read_execution(json.dumps(value), "wf.json")


def refusal(value: Any) -> str:
    with pytest.raises(InvalidWorkflow) as caught:
        read_execution(value if isinstance(value, str) else json.dumps(value), "wf.json")
    return str(caught.value)


# ── what it reads ────────────────────────────────────────────────────────────────────────────────────────────


def test_tasks_come_with_their_needs_and_run_times() -> None:
    assert read(DIAMOND) == Execution(
        "Montage-0.5", (Ran("a", 1, ()), Ran("b", 2.5, ("a",)), Ran("c", 0, ("a",)), Ran("d", 4, ("b", "c")))
    )


@pytest.mark.parametrize("side", ["parents", "children"])
def test_one_side_of_a_need_is_enough(side: str) -> None:
    value = document(("b", ["a"]), ("a", []))
    for task in value["workflow"]["specification"]["tasks"]:
        del task[side]
    assert [task.needs for task in read(value).tasks] == [("a",), ()]


# ── what it becomes ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_replay_waits_in_a_worker_as_long_as_it_took() -> None:
    workflow = replay(read(DIAMOND), time_scale=0.1)
    definition = workflow.parse()
    assert definition.name == "montage-0-5"
    assert definition.definition["tasks"]["b"] == {
        "expect": 0.25, "call": {"function": "replay.wait", "args": {"seconds": 0.25}}, "needs": ["a"],
    }  # fmt: skip
    assert definition.definition["tasks"]["c"]["expect"] == 0
    assert "replay.wait" in app.worker.functions


def test_a_real_replay_sleeps_in_processes() -> None:
    tasks = replay(read(DIAMOND), real=True, name="again").parse().definition["tasks"]
    assert tasks["b"]["job"] == {"argv": ["sleep", "2.500000"]}
    assert tasks["b"]["expect"] == 2.5


def test_a_tiny_scale_makes_no_word_that_sleep_does_not_know() -> None:
    tasks = replay(read(DIAMOND), real=True, time_scale=1e-9).definition()["tasks"]
    assert tasks["d"]["job"] == {"argv": ["sleep", "0.000000"]}


def test_every_id_gets_a_name_of_its_own() -> None:
    ids = ["a b", "a-b", "a/b", "ümlaut", "!!!", "-x-", "x" * 300, "x" * 299, "plain"]
    workflow = replay(read(document(*((one, []) for one in ids)))).definition()
    assert list(workflow["tasks"])[:6] == ["a-b-2", "a-b", "a-b-3", "mlaut", "task", "x"]
    assert len(workflow["tasks"]) == len(ids)
    assert workflow["tasks"]["a-b-2"]["description"] == "a b"
    assert "description" not in workflow["tasks"]["plain"]
    assert replay(read(document(*((one, []) for one in ids)))).parse().task_names == tuple(workflow["tasks"])


@pytest.mark.parametrize(("said", "name"), [("", "replay"), ("!!", "replay"), ("A" * 99, "a" * 64), ("ä-b", "b")])
def test_a_workflow_gets_a_name_that_it_may_have(said: str, name: str) -> None:
    assert replay(read(document(("a", [])) | {"name": said})).parse().name == name


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_json_is_said_with_its_line() -> None:
    assert refusal("{\n  nonsense") == (
        "wf.json: is no JSON: line 2, column 3: Expecting property name enclosed in double quotes"
    )


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "9" * 10_000 + "}"])
def test_what_would_break_a_reader_is_refused(text: str) -> None:
    assert refusal(text).startswith("wf.json: is no JSON")


@pytest.mark.parametrize("value", [[], 3, None])
def test_other_json_is_no_wfformat(value: Any) -> None:
    assert "is no WfFormat: expected a mapping" in refusal(value)


def test_a_document_without_a_version_is_no_wfformat() -> None:
    assert refusal({"name": "x"}) == "wf.json: is no WfFormat: it says no schemaVersion"


@pytest.mark.parametrize("version", ["1.3", 1.5, None, "2.0"])
def test_another_version_is_named(version: Any) -> None:
    assert f"is WfFormat {version}, and only 1.5 is read here" in refusal(document(("a", []), version=version))


def test_a_missing_part_is_named() -> None:
    assert refusal({"schemaVersion": "1.5"}) == "wf.json: the field 'workflow' is missing"
    value = document(("a", []))
    del value["workflow"]["specification"]["tasks"][0]["id"]
    assert refusal(value) == "wf.json: workflow.specification.tasks[0]: the field 'id' is missing"


def test_a_workflow_without_tasks_is_refused() -> None:
    assert refusal(document()) == "wf.json: workflow.specification.tasks: must not be empty"


def test_an_unknown_parent_is_named() -> None:
    value = document(("first", []), ("b", ["firts"]))
    assert refusal(value) == (
        "wf.json: workflow.specification.tasks.b.parents: there is no task 'firts'; did you mean 'first'?"
    )


def test_an_unknown_child_is_named() -> None:
    value = document(("a", []))
    value["workflow"]["specification"]["tasks"][0]["children"] = ["zzz"]
    assert refusal(value) == "wf.json: workflow.specification.tasks.a.children: there is no task 'zzz'"


def test_an_id_names_one_task() -> None:
    assert "2 tasks have the id 'a'" in refusal(document(("a", []), ("a", [])))


@pytest.mark.parametrize(
    ("tasks", "circle"),
    [
        ([("a", ["a"])], "a → a"),
        ([("a", []), ("b", ["a", "d"]), ("c", ["b"]), ("d", ["c"]), ("e", ["d"])], "b → c → d → b"),
    ],
)
def test_a_circle_is_shown(tasks: list[tuple[str, list[str]]], circle: str) -> None:
    assert refusal(document(*tasks)) == f"wf.json: tasks need one another in a circle: {circle}"


def test_a_long_circle_is_cut() -> None:
    tasks = [(f"t{n:03}", [f"t{(n + 1) % 300:03}"]) for n in range(300)]
    assert refusal(document(*tasks)).count("→") == 9


def test_what_never_ran_cannot_be_replayed() -> None:
    value = document(("a", []))
    del value["workflow"]["execution"]
    assert "says nowhere how long a task ran" in refusal(value)


def test_a_missing_run_time_is_named() -> None:
    value = document(("a", []), ("b", []), seconds={"a": 1, "b": None})
    assert refusal(value) == "wf.json: workflow.execution.tasks: of the task 'b' no runtimeInSeconds is told"


@pytest.mark.parametrize("seconds", [-1, "3", float("nan"), float("inf"), True])
def test_a_strange_run_time_is_refused(seconds: Any) -> None:
    assert "wf.json: workflow.execution.tasks[0].runtimeInSeconds: " in refusal(
        document(("a", []), seconds={"a": seconds})
    )


def test_all_problems_are_told_at_once() -> None:
    value = document(("a", ["x"]), ("b", ["y"]), seconds={"a": 1})
    assert len(refusal(value).splitlines()) == 3
