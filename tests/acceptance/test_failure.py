"""Real programs, real kills: rolling restarts, `on_lost`, frozen workers, what a dead worker leaves, and drains."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest
import pytest_asyncio

from storms.campaign import traffic_on
from storms.ledger import now_s
from storms.load import requests
from storms.places import FleetPlace
from warrener import AsyncClient
from warrener.errors import NotFound, Unavailable
from warrener.views import TaskDetail, WorkerView

SEED = int(os.environ.get("WARRENER_TEST_SEED") or SystemRandom().randrange(10**6))
RATE_PER_S = 2.0
WITHIN_S = 120.0  # on a machine that may be busy
SETTINGS = {"WARRENER_SLOTS": "8", "WARRENER_HONOUR_LOAD": "false", "WARRENER_HOST": "node7"}
ROLLING = (
    "scheduler", "gateway", "scheduler@2", "gossip", "job_submission", "app", "data_staging", "env_setup",
)  # fmt: skip
WORKS = {"scheduler": '"scheduling"', "gateway": "", "gossip": ""}
"""What a program says once it works, if it does; workers say `worker starts`."""

pytestmark = [pytest.mark.rabbitmq, pytest.mark.postgresql, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[FleetPlace]:
    """Lend a fleet with the leases that people have; its folder stays when a test has failed."""
    failed_before = request.session.testsfailed
    folder = Path(tempfile.mkdtemp(prefix="warrener-failure-"))
    folder.chmod(0o755)
    with FleetPlace(folder / "fleet", SETTINGS) as place:
        place.fleet.start("scheduler@2", "gossip")
        for name in ROLLING:  # a program that is stopped before it can say so ends by the signal
            if says := WORKS.get(name.partition("@")[0], "worker starts"):
                says_so(place, name, says)
        yield place
    if request.session.testsfailed == failed_before:
        shutil.rmtree(folder)


@pytest_asyncio.fixture
async def client(place: FleetPlace) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(place.settings.listen_url) as client:
        await until(client.workers, lambda found: sum(one.state == "up" for one in found) >= 4)
        yield client


async def until(look: Callable[[], Any], good: Callable[[Any], Any], within_s: float = WITHIN_S) -> Any:
    """Look at what other processes do until it is good."""
    begun_s = now_s()
    found: Any = None
    while now_s() - begun_s < within_s:
        try:
            found = await look()
        except (Unavailable, NotFound):  # not there yet
            found = None
        else:
            if good(found):
                return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"after {within_s:g} s: {found}")


async def state_of(client: AsyncClient, run: str, task: str, *states: str) -> TaskDetail:
    found: TaskDetail = await until(lambda: client.task(run, task), lambda one: one.state in states)
    return found


async def worker(client: AsyncClient, name: str) -> WorkerView:
    return next(one for one in await client.workers() if one.name == name)


def sleepers(mark: str) -> list[int]:
    """Return the processes that a job started, by a word of their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:1] == [b"sleep"] and mark.encode() in words:
                found.append(int(entry.name))
    return found


def says_so(place: FleetPlace, name: str, says: str, since: int = 0) -> None:
    """Block until a program has said something."""
    until_s = now_s() + WITHIN_S
    while says not in place.fleet.log_of(name)[since:]:
        assert now_s() < until_s, place.fleet.log_of(name)[-2000:]
        assert place.fleet.running(name), place.fleet.log_of(name)[-2000:]
        time.sleep(0.1)


async def restart(place: FleetPlace, name: str) -> None:
    """Stop a program as its administrator would, start it again, and wait until it works."""
    before = len(place.fleet.log_of(name))
    await asyncio.to_thread(place.fleet.stop, name)
    assert place.fleet.returncode(name) == 0, place.fleet.log_of(name)[-2000:]
    said_before = len(place.fleet.log_of(name))
    await asyncio.to_thread(place.fleet.again, name)
    says = WORKS.get(name.partition("@")[0], "worker starts")
    await asyncio.to_thread(says_so, place, name, says, said_before)
    assert said_before >= before


async def test_a_rolling_restart_of_everything_loses_and_doubles_nothing(place: FleetPlace, tmp_path: Path) -> None:
    rng = Random(SEED)
    async with traffic_on(place, tmp_path, rng, owner="rolling") as traffic:
        over = asyncio.Event()
        flowing = asyncio.create_task(
            traffic.flow(requests(rng, ("jobs", "long", "calls")), rate=RATE_PER_S, stop=over)
        )
        try:
            await asyncio.sleep(3)
            for name in ROLLING:
                await restart(place, name)
                await asyncio.sleep(1)  # some load between two restarts
        finally:
            over.set()
            await asyncio.wait([flowing], timeout=WITHIN_S)
            flowing.cancel()
        try:
            async with asyncio.timeout(WITHIN_S):
                await traffic.ended()
        except TimeoutError:
            pass  # the books say what is open
        complaints = await traffic.stuck() + await traffic.audit()
        assert not complaints, f"WARRENER_TEST_SEED={SEED}, logs in {place.logs}\n" + "\n".join(complaints)
        started = Counter((one.run, one.task) for one in traffic.ledger.starts if one.kind == "job")
        assert [job for job, times in started.items() if times > 1] == [], "a running job was lost, and begun anew"
        assert len(traffic.sent) > RATE_PER_S * len(ROLLING)


async def test_on_lost_says_what_becomes_of_the_work_of_a_killed_worker(
    place: FleetPlace, client: AsyncClient, tmp_path: Path
) -> None:
    mark, go = f"11{SEED}.5", tmp_path / "go"
    wait = {"shell": f"while [ ! -e {go} ]; do sleep 0.1; done; echo done"}
    run = await client.submit(
        {
            "workflow": "lost",
            "tasks": {
                "again": {"job": {"argv": ["sleep", mark]}, "lease": "9s"},
                "fails": {"job": wait, "lease": "9s", "on_lost": "fail"},
                "held": {"job": wait, "lease": "9s", "on_lost": "hold"},
            },
        }
    )
    for task in ("again", "fails", "held"):
        await state_of(client, run.id, task, "running")
    await until(_sleeping(mark), bool)
    await asyncio.to_thread(place.kill, "job_submission")
    try:
        fails = await state_of(client, run.id, "fails", "failed")
        assert fails.cause == "lost"
        again = await state_of(client, run.id, "again", "ready")
        # The attempt that died with its worker; until its silence is noticed another may be ordered, and time out.
        assert {one.cause for one in again.attempts} == {"lost"}
        assert not sleepers(mark), "its runner ended it before it was placed anew"
        held = await state_of(client, run.id, "held", "unreachable")
        assert "held" in (held.message or "")
        go.touch()
    finally:
        await asyncio.to_thread(place.again, "job_submission")
    assert (await state_of(client, run.id, "held", "succeeded")).attempt == 1
    await state_of(client, run.id, "again", "running")
    assert (await client.task(run.id, "fails")).state == "failed"
    await client.cancel(run.id)
    await until(_sleeping(mark), lambda left: not left)


async def test_a_job_that_died_with_its_host_is_begun_anew_and_costs_no_retry(
    place: FleetPlace, client: AsyncClient
) -> None:
    mark = f"13{SEED}.5"
    job = {"shell": f"[ $WARRENER_ATTEMPT -gt 1 ] || exec sleep {mark}; echo $WARRENER_ATTEMPT >$WARRENER_OUTPUT"}
    run = await client.submit({"workflow": "restarted", "tasks": {"job": {"job": job}}})
    (command,) = await until(_sleeping(mark), bool)
    runner = int(Path(f"/proc/{command}/stat").read_text().rpartition(")")[2].split()[1])
    await asyncio.to_thread(place.kill, "job_submission")
    for pid in (runner, command):
        os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(place.again, "job_submission")
    job_view = await state_of(client, run.id, "job", "succeeded")
    assert (job_view.attempt, job_view.tries, job_view.output) == (2, 0, 2)
    assert [one.cause for one in job_view.attempts][:1] == ["lost"]


def _sleeping(mark: str) -> Callable[[], Any]:
    async def look() -> list[int]:
        return sleepers(mark)

    return look


async def test_a_frozen_worker_is_fenced_and_what_it_says_late_is_not_applied(
    place: FleetPlace, client: AsyncClient, tmp_path: Path
) -> None:
    mark, tries = f"12{SEED}.5", tmp_path / "tries"
    script = f'echo "$WARRENER_ATTEMPT" >> {tries}; [ "$WARRENER_ATTEMPT" != 1 ] || exec sleep {mark}'
    run = await client.submit({"workflow": "frozen", "tasks": {"job": {"job": {"shell": script}, "lease": "3s"}}})
    running = await state_of(client, run.id, "job", "running")
    assert running.worker == "job-submission"
    await until(_sleeping(mark), bool)
    frozen = place.fleet.pid("job_submission")
    os.kill(frozen, signal.SIGSTOP)
    try:
        await until(_sleeping(mark), lambda left: not left, within_s=30)
        await asyncio.to_thread(place.fleet.start, "job_submission@2")
        done = await state_of(client, run.id, "job", "succeeded")
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert (done.attempt, done.worker) == (2, "job-submission-2")
    await until(client.workers, lambda found: all(one.state == "up" for one in found if one.name == "job-submission"))
    later = await client.task(run.id, "job")
    assert (later.state, later.attempt, later.output) == (done.state, done.attempt, done.output)
    assert tries.read_text().split() == ["1", "2"]
    await asyncio.to_thread(place.fleet.stop, "job_submission@2")


async def test_a_drained_worker_stays_drained_and_ends_what_it_has(
    place: FleetPlace, client: AsyncClient, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    tasks = {"job": {"job": {"shell": f"while [ ! -e {go} ]; do sleep 0.1; done"}}}
    first = await client.submit({"workflow": "first", "tasks": tasks})
    await state_of(client, first.id, "job", "running")
    told = await asyncio.to_thread(warrener, place, "drain", "job-submision")
    assert (told.returncode, "did you mean 'job-submission'?" in told.stderr) == (2, True)
    await asyncio.to_thread(warrener, place, "drain", "job-submission", "--reason", "new disk")
    draining = await until(
        lambda: worker(client, "job-submission"), lambda one: one.state == "draining" and not one.free
    )
    assert draining.note.endswith(": new disk")
    waiting = asyncio.create_task(asyncio.to_thread(warrener, place, "drain", "job-submission", "--wait"))
    second = await client.submit({"workflow": "second", "tasks": tasks})
    await state_of(client, second.id, "job", "ready")
    why = await client.why(second.id)
    assert "no worker of kind job takes orders (job-submission is draining: drained by" in why.tasks[0].why
    go.touch()
    await state_of(client, first.id, "job", "succeeded")
    assert (await waiting).returncode == 0
    for name in ("job_submission", "scheduler", "scheduler@2"):
        await restart(place, name)
    await until(lambda: worker(client, "job-submission"), lambda one: one.state == "drained" and one.limit == 0)
    assert (await client.task(second.id, "job")).state == "ready"
    await asyncio.to_thread(warrener, place, "undrain", "job-submission")
    await state_of(client, second.id, "job", "succeeded")


async def test_a_call_that_kills_its_worker_is_given_up_after_three(place: FleetPlace, client: AsyncClient) -> None:
    call = {"call": {"function": "storm.die", "once": True}, "retry": 5}
    run = await client.submit({"workflow": "poison", "tasks": {"die": call}})
    deaths = 0

    async def look() -> TaskDetail:
        nonlocal deaths
        if not place.fleet.running("app"):
            deaths += 1
            await asyncio.to_thread(place.again, "app")
        return await client.task(run.id, "die")

    task = await until(look, lambda one: one.state == "failed")
    assert (task.cause, task.tries, deaths) == ("poison", 0, 3)
    assert "workers died 3 times while they did this (app)" in task.message
    fine = await client.submit({"workflow": "fine", "tasks": {"f": {"job": {"argv": ["true"]}}}})
    await state_of(client, fine.id, "f", "succeeded")


async def test_a_worker_on_a_host_without_memory_takes_nothing_and_says_so(
    place: FleetPlace, client: AsyncClient
) -> None:
    name, thirsty = "job_submission@3", {"WARRENER_MEMORY_FROM": "1", "WARRENER_MEMORY_FULL": "0.999"}
    command = [sys.executable, "-m", "warrener_services.job_submission"]
    await asyncio.to_thread(lambda: place.fleet.run(name, command, WARRENER_HONOUR_LOAD="true", **thirsty))
    try:
        found = await until(
            client.workers, lambda all_: any(one.name == "job-submission-3" and one.withheld for one in all_)
        )
        one = next(one for one in found if one.name == "job-submission-3")
        assert (one.slots, one.withheld, one.free, one.state) == (8, 8, 0, "up")
        assert one.note == "8 slots kept empty for the load of its host"
    finally:
        await asyncio.to_thread(place.fleet.stop, name)


def warrener(place: FleetPlace, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **place.fleet.settings}
    command = [sys.executable, "-m", "warrener_services.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=WITHIN_S, check=False)
