"""Every crash point, on real processes: the program concerned dies exactly there under load, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random, SystemRandom

import pytest

import warrener.worker  # noqa: F401 - registers its points
import warrener_services.scheduler.crash_points  # noqa: F401 - registers its points
from storms.campaign import traffic_on
from storms.ledger import now_s
from storms.load import requests
from storms.places import PACE, FleetPlace
from storms.traffic import Traffic
from warrener.broker import Message
from warrener.brokers import open_broker
from warrener.messages import RunRequest
from warrener.runtime.crash import CRASH_POINTS
from warrener.topology import ORDERS

RUNS = 12
CRASH_WITHIN_S, END_WITHIN_S = 45.0, 40.0
SEED = int(os.environ.get("WARRENER_TEST_SEED") or SystemRandom().randrange(10**6))
FIRST_PASS_ONLY = ("scheduler.taken", "scheduler.loaded", "scheduler.leaving", "worker.parked")

pytestmark = [pytest.mark.rabbitmq, pytest.mark.postgresql, pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[FleetPlace]:
    """Lend a fleet with short leases; its folder stays when a test has failed."""
    failed_before = request.session.testsfailed
    folder = Path(tempfile.mkdtemp(prefix="warrener-crash-points-"))
    folder.chmod(0o755)
    with FleetPlace(folder / "fleet", {**PACE, "WARRENER_LEASE": "3s", "WARRENER_ORDER_TIMEOUT": "6s"}) as place:
        yield place
    if request.session.testsfailed == failed_before:
        shutil.rmtree(folder)


def program_of(point: str) -> str:
    if point.startswith("worker.direct"):
        return "app"
    return "job_submission" if point.startswith("worker.") else point.partition(".")[0]


# Those of the alert desk are walked in tests/integration/test_alert_desk.py: runs do not pass them.
@pytest.mark.parametrize("point", sorted(name for name in CRASH_POINTS if not name.startswith("gossip.")))
async def test_a_crash_there_loses_and_doubles_nothing(point: str, place: FleetPlace, tmp_path: Path) -> None:
    rng = Random(f"{SEED} {point}")
    name, fleet = program_of(point), place.fleet
    times = 1 if point in FIRST_PASS_ONLY else rng.randint(1, 3)
    about = f"{point}:{times}, WARRENER_TEST_SEED={SEED}, logs in {place.logs}"
    await asyncio.to_thread(arm, place, name, f"{point}:{times}")
    async with traffic_on(place, tmp_path, rng, owner=point.replace(".", "-")) as traffic:
        load = requests(rng, ("jobs", "calls"))
        if point == "worker.parked":
            await publish_rubbish(place)
        if point == "scheduler.leaving":  # a second scheduler gets its share, of one that has all by then
            await traffic.one(next(load), "broker")  # which a scheduler answers, the gateway would by itself
            await asyncio.to_thread(fleet.start, "scheduler@2")
        async with asyncio.TaskGroup() as tasks:
            sent = 0
            begun_s = now_s()
            while sent < RUNS or fleet.running(name):
                assert now_s() - begun_s < CRASH_WITHIN_S, f"was never there: {about}"
                if sent < 10 * RUNS:
                    tasks.create_task(traffic.one(next(load)))
                    sent += 1
                await asyncio.sleep(0.05)
            assert fleet.returncode(name) == 137, about
            await asyncio.to_thread(fleet.again, name)
        await balanced(traffic, about)
    if point == "scheduler.leaving":
        await asyncio.to_thread(fleet.stop, "scheduler@2")


def arm(place: FleetPlace, name: str, where: str) -> None:
    """Replace a program by one that dies at a point."""
    command = place.fleet.command(name)
    place.fleet.kill(name)
    place.fleet.run(name, command, WARRENER_CRASH_AT=where)


async def publish_rubbish(place: FleetPlace) -> None:
    broker = open_broker(place.settings.broker, name="vandal")
    try:
        await broker.publish(Message(ORDERS, "job", "orders/1", b"rubbish", "rubbish-1"))
    finally:
        await broker.close()


async def balanced(traffic: Traffic, about: str) -> None:
    try:
        async with asyncio.timeout(END_WITHIN_S):
            await traffic.ended()
    except TimeoutError:
        pass  # the books say what is open
    stuck = await traffic.stuck()
    complaints = await traffic.audit() + stuck
    assert not complaints, f"{about}\n" + "\n".join(complaints)


async def test_the_work_of_a_worker_that_stays_away_is_placed_anew_within_40_s(
    place: FleetPlace, tmp_path: Path
) -> None:
    fleet = place.fleet
    fleet.start("job_submission@2")
    script = (
        'if [ "$WARRENER_ATTEMPT" = 1 ]; then echo $$ >pid; sleep 300; fi; '
        'if kill -0 "$(cat pid)"; then exit 9; fi'  # the first attempt must be gone by now
    )
    async with traffic_on(place, tmp_path, Random(SEED), owner="away") as traffic:
        definition = traffic.definitions["jobs"]
        section = definition["tasks"]["first"]["job"]
        section["shell"] = section["shell"].removesuffix("true") + script
        definition["tasks"] = {"first": {**definition["tasks"]["first"], "lease": "30s"}}
        run = await traffic.clients["broker"].submit(definition, RunRequest(key="long"))
        await started(traffic, 1)
        (task,) = await traffic.store.read(lambda tx: tx.tasks.of_run(run))
        holder = "job_submission@2" if task.worker == "job-submission-2" else "job_submission"
        killed_s = now_s()
        fleet.kill(holder)
        await started(traffic, 2)
        took_s = traffic.ledger.starts[-1].at_s - killed_s
        fleet.again(holder)
        while (await traffic.store.read(lambda tx: tx.runs.load([run])))[run].state == "running":
            await asyncio.sleep(0.05)
        (task,) = await traffic.store.read(lambda tx: tx.tasks.of_run(run))
    fleet.stop("job_submission@2")
    print(f"placed anew after {took_s:.1f} s")  # noqa: T201 - a figure worth having in the report
    assert (task.state, task.attempt, task.tries) == ("succeeded", 2, 0), task.message
    assert 20 < took_s <= 40


async def started(traffic: Traffic, count: int) -> None:
    async with asyncio.timeout(60):
        while len(traffic.ledger.starts) < count:
            await asyncio.sleep(0.05)
            traffic.ledger.look()
