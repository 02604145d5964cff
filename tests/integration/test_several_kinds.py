"""A worker of several kinds on a real RabbitMQ: its slots follow the backlog; and a drained one ends with its work."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.stack import Fleet
from warrener.client import Client
from warrener.views import WorkerView

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path / "fleet", database="sqlite", settings={"WARRENER_SLOTS": "6"}) as fleet:
        fleet.start("scheduler", "gateway")
        fleet.wait_until("gateway", (fleet.state / "gateway.sock").exists)
        yield fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(f"unix:{fleet.state}/gateway.sock") as client:
        yield client


def serve(fleet: Fleet, *options: str) -> None:
    command = [sys.executable, "-m", "warrener_services.cli", "serve", "worker", "--settle", "1s", *options]
    fleet.run("several", command)


def jobs(number: int, seconds: str) -> dict[str, object]:
    return {"workflow": "w", "tasks": {f"t{n}": {"job": {"argv": ["sleep", seconds]}} for n in range(number)}}


def until(client: Client, true: Callable[[dict[str, WorkerView]], bool], within_s: float = 40) -> dict[str, WorkerView]:
    ends_s = time.monotonic() + within_s
    while True:
        found = {worker.name: worker for worker in client.workers()}
        if true(found):
            return found
        assert time.monotonic() < ends_s, found
        time.sleep(0.1)  # what is waited for lives in another process


def test_slots_follow_the_backlog_and_come_back(fleet: Fleet, client: Client) -> None:
    serve(fleet, "--kinds", "env,stage:0-2,job")
    until(client, lambda found: len(found) == 3)
    run = client.submit(jobs(30, "0.6"), key="a")
    found = until(client, lambda found: found["job-several"].slots == 5)
    assert {name: worker.slots for name, worker in found.items()} == {
        "env-several": 1, "stage-several": 0, "job-several": 5,
    }  # fmt: skip
    assert run.wait(timeout=60).state == "succeeded"
    staging = client.submit(
        {"workflow": "s", "tasks": {f"t{n}": {"stage": [{"from": "file:/nowhere", "to": "x"}]} for n in range(3)}},
        key="b",
    )
    assert staging.wait(timeout=60).state == "failed"  # it was performed, although stage had no slot
    assert "slots shift to where the backlog is" in fleet.log_of("several")


def test_a_drained_worker_ends_with_what_runs_and_loses_nothing(fleet: Fleet, client: Client) -> None:
    serve(fleet, "--kinds", "job")
    until(client, lambda found: len(found) == 1)
    run = client.submit(jobs(9, "3"), key="a")
    until(client, lambda _: client.status(run.id).counts.get("running") == 6)
    os.kill(fleet.pid("several"), signal.SIGUSR1)
    until(client, lambda found: found["job-several"].state == "gone")
    until(client, lambda _: not fleet.running("several"))
    assert fleet.returncode("several") == 0
    assert client.status(run.id).counts == {"succeeded": 6, "ready": 3}
    serve(fleet, "--kinds", "job")
    ended = run.wait(timeout=60)
    assert ended.state == "succeeded"
    assert {task.attempt for task in ended.tasks} == {1}
