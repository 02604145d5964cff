"""The elastic program on a real RabbitMQ, with a real scheduler and real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.stack import Fleet
from warrener.client import Client
from warrener.views import PoolView

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(240)]

RULES = """\
every: 500ms
pools:
  burst:
    serves: job
    maximum: 3
    slots: 2
    drain_within: 5s
    up_after: 1s
    down_after: 4s
    processes:
"""


class Place:
    """A fleet with an elastic program, and a client."""

    def __init__(self, fleet: Fleet, client: Client) -> None:
        self.fleet, self.client = fleet, client

    def serve(self, name: str = "elastic") -> None:
        self.fleet.run(name, [sys.executable, "-m", "warrener_services.cli", "serve", "elastic"], WARRENER_WORKER=name)

    def pool(self, true: Callable[[PoolView], bool], within_s: float = 60) -> PoolView:
        """Wait until the pool is like this; return it."""
        ends_s = time.monotonic() + within_s
        while True:
            pools = self.client.pools()
            if pools and true(pools[0]):
                return pools[0]
            logs = [self.fleet.log_of(name) for name in ("elastic",)]
            assert time.monotonic() < ends_s, (pools, logs[0][-3000:])
            time.sleep(0.1)  # what is waited for lives in other processes

    def submit(self, number: int, seconds: str, key: str = "a") -> str:
        tasks = {f"t{n}": {"job": {"argv": ["sleep", seconds]}} for n in range(number)}
        return self.client.submit({"workflow": "w", "tasks": tasks}, key=key).id

    def pids(self) -> dict[str, int]:
        """Return the processes that work now, by name, as the kernel has them."""
        found: dict[str, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                said = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            names = [word[16:].decode() for word in said if word.startswith(b"WARRENER_WORKER=burst-")]
            if names and b"job_submission" in command and f"WARRENER_STATE={self.fleet.state}".encode() in said:
                assert names[0] not in found, f"two processes are {names[0]}"
                found[names[0]] = int(entry.name)
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    rules = tmp_path / "elastic.yaml"
    rules.write_text(RULES)
    settings = {"WARRENER_ELASTIC": str(rules), "WARRENER_HOST": "here"}
    with Fleet(tmp_path / "fleet", database="sqlite", settings=settings) as fleet:
        fleet.start("scheduler", "gateway")
        fleet.wait_until("gateway", (fleet.state / "gateway.sock").exists)
        with Client(f"unix:{fleet.state}/gateway.sock") as client:
            place = Place(fleet, client)
            try:
                yield place
            finally:
                for name in ("elastic", "elastic2"):
                    if name in fleet._programs:
                        fleet.stop(name)
                for pid in place.pids().values():
                    os.kill(pid, signal.SIGKILL)


def test_a_burst_brings_workers_and_calm_sends_them_home(place: Place) -> None:
    place.serve()
    place.pool(lambda pool: pool.running == 0)
    run = place.submit(40, "0.5")
    grown = place.pool(lambda pool: pool.running == 3)
    assert "40 queued and 0 in flight, nobody knows how long: 40 slots drain it within 5.0 s" in grown.action
    ended = place.client.run(run).wait(timeout=90)
    assert ended.state == "succeeded"
    assert {task.attempt for task in ended.tasks} == {1}
    calm = place.pool(lambda pool: pool.running == pool.leaving == 0)
    assert calm.action.startswith(("3 → ", "2 → ", "1 → "))
    assert place.pids() == {}


def test_what_runs_long_is_never_interrupted_by_a_shrink(place: Place) -> None:
    place.serve()
    run = place.submit(5, "0.1")
    long = place.submit(1, "12", key="b")
    place.pool(lambda pool: pool.running >= 2)
    place.pool(lambda pool: pool.running == 1)
    assert place.client.run(run).wait(timeout=60).state == "succeeded"
    ended = place.client.run(long).wait(timeout=60)
    assert (ended.state, ended.tasks[0].attempt) == ("succeeded", 1)
    place.pool(lambda pool: pool.running == pool.leaving == 0)


def test_a_killed_program_comes_back_and_doubles_nobody(place: Place) -> None:
    place.serve()
    run = place.submit(6, "8")
    place.pool(lambda pool: pool.running == 3)
    before = place.pids()
    place.fleet.kill("elastic")
    place.fleet.again("elastic")
    place.pool(lambda pool: pool.running == 3 and not pool.action)
    assert place.pids() == before
    assert place.client.run(run).wait(timeout=60).state == "succeeded"
    place.pool(lambda pool: pool.running == pool.leaving == 0)


def test_of_two_programs_one_acts_and_the_other_takes_over(place: Place) -> None:
    place.serve()
    place.pool(lambda _: True)
    place.serve("elastic2")
    place.fleet.wait_until("elastic2", lambda: "it is another program's turn" in place.fleet.log_of("elastic2"))
    place.submit(60, "1")
    place.pool(lambda pool: pool.running == 3)
    assert "started a worker" not in place.fleet.log_of("elastic2")
    place.fleet.kill("elastic")
    place.fleet.wait_until("elastic2", lambda: "it is this program's turn" in place.fleet.log_of("elastic2"))
    for pid in place.pids().values():
        os.kill(pid, signal.SIGKILL)  # the other one must replace them
    place.fleet.wait_until("elastic2", lambda: place.fleet.log_of("elastic2").count('"started a worker"') >= 3)
    assert len(place.pids()) == 3


def test_a_wrong_file_of_rules_is_refused_with_a_sentence(place: Place) -> None:
    path = Path(place.fleet.settings["WARRENER_ELASTIC"])
    path.write_text(RULES.replace("maximum", "maximun"))
    for words in (["elastic", "check", str(path)], ["serve", "elastic"]):
        done = subprocess.run(
            [sys.executable, "-m", "warrener_services.cli", *words], env={**os.environ, **place.fleet.settings},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "unknown field 'maximun'; did you mean 'maximum'?" in done.stderr
