from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from campaigns.check import Verdict, check

RUN = "d1aaaaaaaaaaaaaa"
BEGUN = [
    {"what": "campaign", "name": "kills", "seed": 7},
    {"what": "submitted", "key": "k", "expected": ["succeeded"]},
    {"what": "accepted", "key": "k", "run": RUN},
]
ENDED = [{"what": "over", "name": "kill", "target": "gateway", "trial": 1}, {"what": "ended"}]


def stored(state: str = "succeeded", tasks: list[Any] | None = None) -> dict[str, Any]:
    some = [["first", "job", "succeeded", 1, 1]] if tasks is None else tasks
    return {
        "what": "stored",
        "run": RUN,
        "key": "k",
        "state": state,
        "n": 3,
        "tasks": [[*task, None][:6] for task in some],
    }


def start(kind: str = "job", task: str = "first", attempt: int = 1, what: str = "start") -> dict[str, Any]:
    return {"what": what, "kind": kind, "run": RUN, "task": task, "attempt": attempt, "host": "meadow-1"}


def verdict_of(tmp_path: Path, *lines: dict[str, Any], begun: list[Any] = BEGUN) -> Verdict:
    path = tmp_path / "history.jsonl"
    listed = [*begun, *lines, *ENDED]
    path.write_text("".join(json.dumps({"at": at, **line}) + "\n" for at, line in enumerate(listed)) + '{"at":9,"wha')
    return check(path)


def found(verdict: Verdict) -> dict[str, int]:
    return {kind: len(some) for kind, some in verdict.found.items() if some}


def test_a_run_that_ended_as_it_should_is_found_right(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, start(), start(what="end"), stored())
    assert found(verdict) == {}
    assert (verdict.trials, verdict.bound, verdict.runs, verdict.tasks) == (1, 1.0, 1, 1)


def test_the_bound_is_three_over_the_number_of_trials(tmp_path: Path) -> None:
    many = {"what": "over", "name": "messages", "target": "all", "trial": 0, "trials": 999}
    verdict = verdict_of(tmp_path, stored(), many)
    assert verdict.bound == 3 / 1000


def test_no_bound_is_given_when_something_failed(tmp_path: Path) -> None:
    assert verdict_of(tmp_path).bound is None


def test_an_accepted_run_that_the_store_does_not_have_is_lost(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path)) == {"lost": 1}


def test_an_accepted_run_that_did_not_end_is_lost(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path, stored("running", [["first", "job", "running", 1, None]]))) == {"lost": 1}


def test_a_submission_that_was_not_answered_is_unexpected(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path, begun=BEGUN[:2])) == {"unexpected": 1}


def test_two_runs_for_one_key_are_doubled(tmp_path: Path) -> None:
    other = {"what": "accepted", "key": "k", "run": "d1bbbbbbbbbbbbbb"}
    assert found(verdict_of(tmp_path, other, stored()))["doubled"] == 1


def test_an_attempt_that_started_twice_is_doubled(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path, start(), start(), stored())) == {"doubled": 1}


def test_a_second_attempt_is_not_doubled(tmp_path: Path) -> None:
    tasks = [["first", "job", "succeeded", 2, 2]]
    verdict = verdict_of(tmp_path, start(), start(attempt=2), stored(tasks=tasks))
    assert (found(verdict), verdict.anew, verdict.ran_on) == ({}, 1, 0)


def test_an_attempt_that_worked_when_the_next_had_begun_is_counted(tmp_path: Path) -> None:
    tasks = [["first", "job", "succeeded", 2, 2]]
    verdict = verdict_of(tmp_path, start(), start(attempt=2), start(what="end"), stored(tasks=tasks))
    assert verdict.ran_on == 1


def test_a_late_result_that_was_applied_is_doubled(tmp_path: Path) -> None:
    tasks = [["first", "job", "succeeded", 2, 1]]
    assert found(verdict_of(tmp_path, start(), start(attempt=2), stored(tasks=tasks))) == {"doubled": 1}


def test_a_call_that_must_start_once_and_started_twice_is_doubled(tmp_path: Path) -> None:
    tasks = [["fourfold", "call", "succeeded", 1, 12]]
    twice = [start("call", "fourfold", 0)] * 2
    assert found(verdict_of(tmp_path, *twice, stored(tasks=tasks))) == {"doubled": 1}


def test_a_direct_call_may_start_twice(tmp_path: Path) -> None:
    tasks = [["double", "call", "succeeded", 1, 6]]
    twice = [start("call", "double", 0)] * 2
    assert found(verdict_of(tmp_path, *twice, stored(tasks=tasks))) == {}


def test_a_wrong_result_is_unexpected(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path, stored(tasks=[["double", "call", "succeeded", 1, 7]]))) == {"unexpected": 1}


def test_a_wrong_end_is_unexpected(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path, stored("failed", [["first", "job", "failed", 1, None]]))) == {"unexpected": 1}


@pytest.mark.parametrize(("attempts", "wrong"), [(3, {}), (2, {"unexpected": 1})])
def test_a_task_is_poison_after_three_workers_died(attempts: int, wrong: dict[str, int], tmp_path: Path) -> None:
    poison = stored("failed", [["first", "job", "failed", attempts, None, "poison"]])
    verdict = verdict_of(tmp_path, poison)
    assert (found(verdict), verdict.poisoned) == (wrong, 1 if attempts == 3 else 0)


def test_an_open_task_of_a_run_that_ended_is_stuck(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path, stored(tasks=[["first", "job", "running", 1, None]]))) == {"stuck": 1}


def test_a_figure_beyond_its_limit_or_never_seen_is_late(tmp_path: Path) -> None:
    slow = {"what": "figure", "name": "known, s", "value": 16.0, "limit": 15, "target": "meadow-1"}
    never = {**slow, "value": None}
    verdict = verdict_of(tmp_path, stored(), slow, never)
    assert found(verdict) == {"late": 2}
    assert verdict.line()["figures"]["known, s"] == {"n": 1, "p50": 16.0, "max": 16.0, "limit": 15}


def test_an_attempt_that_was_taken_from_a_live_worker_is_doubled(tmp_path: Path) -> None:
    begun = [{**BEGUN[0], "single": True}, *BEGUN[1:]]
    tasks = [["first", "job", "succeeded", 2, 2]]
    assert found(verdict_of(tmp_path, start(), start(attempt=2), stored(tasks=tasks), begun=begun)) == {"doubled": 1}


def test_what_the_campaign_itself_found_wrong_counts(tmp_path: Path) -> None:
    assert found(verdict_of(tmp_path, stored(), {"what": "wrong", "text": "half a row", "kind": "stuck"})) == {
        "stuck": 1
    }


def test_a_history_without_an_end_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps({"at": 1.0, **line}) + "\n" for line in [*BEGUN, stored()]))
    assert found(check(path)) == {"unexpected": 1}
