"""`why`: one sentence that names what is missing and what would release the task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from warrener.ids import RunId, WorkerName
from warrener.states import State
from warrener.store import AttemptRow, RunRow, TaskRow
from warrener.stores.tables import NEVER
from warrener.views import WorkerView
from warrener.waiting import why, why_run

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
RUN_ID = RunId("d1zpagaeg9nc67d8")


def run(**fields: Any) -> RunRow:
    whole = {
        "id": RUN_ID, "shard": 1, "owner": "ada", "key": "k", "workflow": "plots", "digest": "d", "params": "{}",
        "priority": None, "logical_time": None, "state": "running", "accepted_at": NOW - timedelta(seconds=90),
    }  # fmt: skip
    return RunRow(**(whole | fields))


def task(name: str = "plot", **fields: Any) -> TaskRow:
    whole = {
        "run": RUN_ID, "n": 0, "shard": 1, "name": name, "kind": "job", "lane": "job", "workflow": "plots",
        "section": "{}", "templated": False, "policy": "{}", "priority": 4, "weight": 1, "deadline_at": NOW,
        "fanout": 0, "state": State.WAITING, "unmet": 0, "level": 5,
    }  # fmt: skip
    return TaskRow(**(whole | fields))


def worker(name: str = "job-a", **fields: Any) -> WorkerView:
    whole = {"name": name, "kind": "job", "site": "local", "host": "a", "slots": 4, "free": 0, "heard_at": NOW}
    return WorkerView(**(whole | fields))


def said(row: TaskRow, *, of: RunRow | None = None, needs: Any = (), attempts: Any = (), workers: Any = ()) -> str:
    sentence = why(row, of or run(), needs, attempts, workers, NOW)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_waiting_task_names_what_must_succeed_and_where_that_stands() -> None:
    needs = [
        task("fetch", state=State.RUNNING),
        task("done", state=State.SUCCEEDED),
        task("build", state=State.READY),
    ]
    assert said(task(), needs=needs) == "It waits for fetch (running) and build (ready) to succeed."


def test_of_many_needs_only_a_few_are_named() -> None:
    needs = [task(f"t{n}") for n in range(9)]
    assert "t4 (waiting) and 4 more to succeed" in said(task(), needs=needs)


def test_a_task_between_tries_says_when_the_next_comes_and_why() -> None:
    row = task(tries=1, attempt=1, due_at=NOW + timedelta(seconds=185), policy='{"retry":{"count":2}}')
    failed = AttemptRow(RUN_ID, 0, 1, "failed", "job-a", NOW, NOW, NOW, cause="exit", exit_code=1)
    assert said(row, attempts=[failed]) == (
        "It waits until 12:03:05 UTC for try 2 of 3, because the last one ended with exit code 1."
    )


def test_without_a_worker_of_its_kind_it_says_which_program_to_start() -> None:
    sentence = said(task(state=State.READY))
    assert "no worker of kind job is alive" in sentence
    assert "`warrener serve job_submission`" in sentence


def test_a_silent_worker_is_named_as_silent() -> None:
    assert "(job-a is silent)" in said(task(state=State.READY), workers=[worker(state="silent")])


def test_a_call_waits_for_a_worker_of_its_own_app() -> None:
    row = task(state=State.READY, kind="call", lane="call.images")
    other = worker("call-b", kind="call", apps=["sounds"])
    assert "no worker of app images is alive" in said(row, workers=[other])
    assert "are taken" in said(row, workers=[worker("call-a", kind="call", apps=["images"])])


def test_taken_slots_are_counted() -> None:
    workers = [worker("job-a"), worker("job-b", slots=2)]
    assert "all 6 slots of kind job are taken" in said(task(state=State.READY, ready_at=NOW), workers=workers)


@pytest.mark.parametrize(
    ("fields", "turn"),
    [
        ({"deadline_at": NEVER}, "(priority 4)"),
        (
            {"deadline_at": NEVER, "minus_path_s": -0.25},
            "(priority 4, an expected 0.25 s to the end of its longest path)",
        ),
        ({"priority": 9, "minus_path_s": -7200}, "(priority 9, its deadline, an expected 2 h to the end"),
    ],
)
def test_a_turn_says_by_what_it_comes(fields: Any, turn: str) -> None:
    row = task(state=State.READY, **fields)
    assert f"it starts when its turn comes {turn}" in said(row, workers=[worker()])
    assert f"others of kind job go before it; it starts when its turn comes {turn}" in said(
        row, workers=[worker(free=1)]
    )


@pytest.mark.parametrize(
    ("weight", "free", "sentence"),
    [
        (8, 4, "it needs 8 slots on one worker, and the largest, job-a, has 4"),
        (3, 2, "it needs 3 slots on one worker, and at most 2 are free"),
        (1, 2, "others of kind job go before it"),
    ],
)
def test_a_heavy_task_says_what_it_cannot_find(weight: int, free: int, sentence: str) -> None:
    assert sentence in said(task(state=State.READY, weight=weight), workers=[worker(free=free)])


def test_a_run_bound_to_a_site_waits_for_a_worker_there() -> None:
    sentence = said(task(state=State.READY), of=run(site="cluster"), workers=[worker()])
    assert "alive at site cluster" in sentence


def test_a_grace_says_when_it_ends() -> None:
    row = task(state=State.READY, ready_at=NOW - timedelta(seconds=10), policy='{"grace_s":60}')
    assert "(it expires at 12:00:50 UTC)" in said(row, workers=[worker()])


def test_a_task_in_flight_says_where_and_since_when() -> None:
    ordered = task(state=State.ORDERED, ordered_at=NOW - timedelta(seconds=5), due_at=NOW + timedelta(seconds=55))
    assert "at 11:59:55 UTC (5 s ago)" in said(ordered)
    assert "by 12:00:55 UTC, it is ordered anew" in said(ordered)
    row = task(state=State.RUNNING, worker=WorkerName("job-a"), started_at=NOW - timedelta(minutes=5))
    assert said(row) == "It runs on job-a since 11:55:00 UTC (5 min ago)."


@pytest.mark.parametrize(("on_lost", "then"), [("retry", "placed anew"), ("fail", "it fails"), ("hold", "cancel")])
def test_an_unreachable_task_says_what_happens_unless_its_worker_comes_back(on_lost: str, then: str) -> None:
    row = task(state=State.UNREACHABLE, worker=WorkerName("job-a"), policy=f'{{"on_lost":"{on_lost}"}}')
    assert then in said(row)


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_a_sentence(state: State) -> None:
    said(task(state=state, worker=WorkerName("job-a"), started_at=NOW, ordered_at=NOW, finished_at=NOW))


def test_a_failure_is_told_in_one_line_with_the_way_back() -> None:
    row = task(state=State.FAILED, finished_at=NOW, message="the command ended with exit code 3\ndead")
    assert said(row) == (
        "It failed at 12:00:00 UTC: the command ended with exit code 3: dead;"
        f" `warrener retry {RUN_ID}` gives it another go."
    )


def test_a_run_that_nobody_took_up_says_how_to_start_a_scheduler() -> None:
    assert "`warrener serve scheduler`" in why_run(run(state="accepted"), 0, NOW)
    assert why_run(run(), 2, NOW) == "It waits for 2 tasks that are not finished."
    assert why_run(run(state="failed", finished_at=NOW), 0, NOW).startswith("It failed at 12:00:00")


def test_a_task_that_waits_for_drained_or_quarantined_workers_is_told_so() -> None:
    row = task(state=State.READY, ready_at=NOW)
    drained = worker(state="drained", note="drained by anna: new disk")
    boxed = worker("job-b", state="quarantined", note="quarantined until 12:01:00 UTC: no space left on device")
    assert said(row, workers=[drained, boxed]) == (
        "It is ready, but no worker of kind job takes orders (job-a is drained by anna: new disk and job-b is"
        " quarantined until 12:01:00 UTC: no space left on device): start one with `warrener serve job_submission`."
    )


def test_a_task_that_waits_for_a_loaded_host_is_told_so() -> None:
    row = task(state=State.READY, ready_at=NOW)
    loaded = worker(withheld=4, note="4 slots kept empty for the load of its host")
    assert "(job-a has 4 slots kept empty for the load of its host)" in said(row, workers=[loaded])
