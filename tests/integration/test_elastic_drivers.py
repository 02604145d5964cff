"""What starts and stops workers: real processes, a command, and compose as a program that says what compose says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from warrener.messages import Heartbeat
from warrener_services.elastic.driver import Driver, DriverFailed
from warrener_services.elastic.drivers.command import CommandDriver
from warrener_services.elastic.drivers.compose import ComposeDriver
from warrener_services.elastic.drivers.processes import ProcessDriver
from warrener_services.elastic.rules import Command, Compose

MEMBER = """
import os, signal, sys, time
open(os.environ["WARRENER_WORKER"] + ".env", "w").write(os.environ.get("COLOUR", ""))
def end(*_):
    sys.exit(0)
def slow(*_):
    with open(os.environ["WARRENER_WORKER"] + ".stops", "a") as stops:
        stops.write("stop\\n")
signal.signal(signal.SIGUSR1, signal.SIG_IGN if os.environ.get("STUBBORN") else end)
signal.signal(signal.SIGTERM, slow if os.environ.get("STUBBORN") == "very" else end)
open(os.environ["WARRENER_WORKER"] + ".up", "w").close()
while True:
    time.sleep(60)
"""


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await true():
            await asyncio.sleep(0.02)  # what is waited for happens in other processes


async def counts(driver: Driver, working: int, leaving: int = 0) -> None:
    async def reached() -> bool:
        crew = await driver.look()
        return (len(crew.working), len(crew.leaving)) == (working, leaving)

    await until(reached)


async def failure(driver: Driver) -> str:
    """Wait until a look fails; return why."""
    said: list[str] = []

    async def failed() -> bool:
        try:
            await driver.look()
        except DriverFailed as error:
            said.append(str(error))
        return bool(said)

    await until(failed)
    return said[0]


class Pool:
    """Makes lives of the driver of one pool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.argv = [sys.executable, "-c", MEMBER]
        self.environment = {**os.environ, "COLOUR": "blue"}
        self.patience_s = 3600.0

    def driver(self) -> ProcessDriver:
        return ProcessDriver(
            "pool", self.argv, self.folder / "pool", host="h", environment=self.environment,
            patience_s=self.patience_s,
        )  # fmt: skip

    def pids(self) -> dict[int, int]:
        return {int(path.stem): int(path.read_text().split()[0]) for path in (self.folder / "pool").glob("*.pid")}

    async def all_up(self, *numbers: int) -> None:
        async def up() -> bool:
            return all((self.folder / f"pool-h-{number}.up").exists() for number in numbers)

        await until(up)


@pytest.fixture
async def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    monkeypatch.chdir(tmp_path)
    pool = Pool(tmp_path)
    try:
        yield pool
    finally:
        driver = pool.driver()

        async def gone() -> bool:
            crew = await driver.look()
            for number, pid in pool.pids().items():
                if f"pool-h-{number}" in crew.working | crew.leaving:
                    os.kill(pid, signal.SIGKILL)
            return not crew.working | crew.leaving

        await until(gone)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


async def test_processes_come_and_go(pool: Pool) -> None:
    driver = pool.driver()
    assert (await driver.look()).count == 0
    await driver.scale(3, {})
    assert (await driver.look()).working == {"pool-h-1", "pool-h-2", "pool-h-3"}
    await pool.all_up(1, 2, 3)
    assert (pool.folder / "pool-h-2.env").read_text() == "blue"
    await driver.scale(1, {"pool-h-1": 0, "pool-h-2": 5, "pool-h-3": 1})
    await counts(driver, 1)
    assert (await driver.look()).working == {"pool-h-2"}  # it had most to do
    await driver.scale(2, {})
    assert (await driver.look()).working == {"pool-h-1", "pool-h-2"}


async def test_a_new_life_of_the_program_finds_them_and_doubles_none(pool: Pool) -> None:
    await pool.driver().scale(3, {})
    await pool.all_up(1, 2, 3)
    pids = pool.pids()
    later = pool.driver()
    await later.scale(3, {})
    assert (await later.look()).count == 3
    assert pool.pids() == pids
    await later.scale(0, {})
    await counts(later, 0)


async def test_a_process_that_is_killed_is_missed(pool: Pool) -> None:
    driver = pool.driver()
    await driver.scale(2, {})
    await pool.all_up(1, 2)
    os.kill(pool.pids()[1], signal.SIGKILL)
    assert (await failure(driver)).startswith("pool-h-1 ended with -9 ")
    await counts(driver, 1)
    await driver.scale(2, {})
    await counts(driver, 2)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["sh", "-c", "echo starting; echo; echo 'no slots' >&2; exit 2"],
            r"ended with 2 .*see .*/pool/1\.log: no slots",
        ),
        (["pyhton", "x.py"], r"ended with 127 \d\.\d s after its start; see .*pyhton: not found"),
        (["sh", "-c", "exit 3"], "ended with 3 .*: it is empty"),
    ],
)
async def test_a_process_that_dies_at_its_start_is_told(pool: Pool, argv: list[str], says: str) -> None:
    pool.argv = argv
    driver = pool.driver()
    await driver.scale(1, {})
    assert re.search(says, await failure(driver))
    assert (await driver.look()).count == 0


async def test_a_process_that_lived_long_or_was_told_to_leave_may_end_as_it_likes(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = pool.driver()
    await driver.scale(2, {})
    await pool.all_up(1, 2)
    (pool.folder / "pool" / "1.leaving").touch()
    os.kill(pool.pids()[1], signal.SIGKILL)
    await counts(driver, 1)
    monkeypatch.setattr("warrener_services.elastic.drivers.processes._EARLY_S", 0.0)
    os.kill(pool.pids()[2], signal.SIGKILL)
    await counts(driver, 0)


async def test_an_id_that_another_process_has_by_now_is_not_signalled(pool: Pool) -> None:
    driver = pool.driver()
    await driver.scale(1, {})
    await pool.all_up(1)
    path = pool.folder / "pool" / "1.pid"
    pid, started = path.read_text().split()
    path.write_text(f"{pid} {int(started) - 1}\n")
    await driver.scale(0, {})
    crew = await driver.look()
    assert (crew.count, len(crew.leaving)) == (1, 0)
    path.write_text(f"{pid} {started}\n")
    await driver.scale(0, {})
    await counts(driver, 0)


async def test_who_drains_counts_as_leaving_and_is_stopped_when_patience_ends(pool: Pool) -> None:
    pool.environment["STUBBORN"] = "yes"
    driver = pool.driver()
    await driver.scale(1, {})
    await pool.all_up(1)
    await driver.scale(0, {})
    await counts(driver, 0, leaving=1)
    await driver.scale(1, {})  # another one, under another name
    assert (await driver.look()).working == {"pool-h-2"}
    await pool.all_up(2)
    pool.patience_s = 0.0
    await counts(pool.driver(), 1)


async def test_who_drains_for_too_long_is_told_once_to_stop_and_in_the_end_killed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.environment["STUBBORN"] = "very"
    pool.patience_s = 0.0
    driver = pool.driver()
    await driver.scale(1, {})
    await pool.all_up(1)
    await driver.scale(0, {})
    stops = pool.folder / "pool-h-1.stops"

    async def told() -> bool:
        await driver.look()
        return stops.exists()

    await until(told)
    for _ in range(3):
        await driver.look()
        await pool.driver().look()  # a later life of the program knows as well
    os.kill(pool.pids()[1], signal.SIGTERM)  # behind any other signal: when this one is there, so are they

    async def heard() -> bool:
        return stops.read_text().count("stop") >= 2

    await until(heard)
    assert stops.read_text().count("stop") == 2
    monkeypatch.setattr("warrener_services.elastic.drivers.processes._PATIENCE_AFTER_STOP_S", 0.0)
    await counts(driver, 0)


async def test_a_program_that_cannot_be_started_is_named(pool: Pool) -> None:
    (pool.folder / "pool").write_text("no folder")
    with pytest.raises(DriverFailed, match="pool cannot be used"):
        await pool.driver().look()
    (pool.folder / "pool").unlink()


def beat(worker: str, host: str = "x") -> Heartbeat:
    return Heartbeat(worker=worker, boot="b", seq=1, task_kind="job", site="s", host=host, slots=1, free=1)


async def test_a_heartbeat_of_one_of_several_kinds_is_known_by_its_process(pool: Pool) -> None:
    driver = pool.driver()
    await driver.scale(1, {})
    crew = await driver.look()
    assert [crew.member_of(beat(name)) for name in ("pool-h-1", "job-pool-h-1", "job-h")] == ["pool-h-1"] * 2 + [None]
    await pool.all_up(1)


# ── a command ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_command_is_told_the_number_and_another_one_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").write_text("0")
    told = Command(argv=("sh", "-c", 'echo "$1" > "$0"', "{pool}", "{count}"), count=("cat", "{pool}"))
    driver = CommandDriver("jobs", told)
    assert (await driver.look()).count == 0
    await driver.scale(3, {})
    assert (await driver.look()).count == 3
    (tmp_path / "jobs").write_text("2\n")  # one has died
    assert (await CommandDriver("jobs", told).look()).count == 2


@pytest.mark.parametrize("printed", ["many", "1 2", "", "²"])
async def test_a_command_that_prints_no_number_is_named(printed: str) -> None:
    driver = CommandDriver("jobs", Command(argv=("true",), count=("echo", printed)))
    with pytest.raises(DriverFailed, match=r"^`echo` printed .* and no number of workers$"):
        await driver.look()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("no-such-program",), "`no-such-program` cannot be run: No such file or directory"),
        (("sh", "-c", "echo no room >&2; exit 3"), "ended with 3: no room"),
        (("sleep", "60"), "`sleep 60` did not end within 0.2 s and was ended"),
    ],
)
async def test_a_command_that_fails_says_how(argv: tuple[str, ...], says: str) -> None:
    driver = CommandDriver("jobs", Command(argv=argv, count=("true",), timeout=timedelta(seconds=0.2)))
    with pytest.raises(DriverFailed) as caught:
        await driver.scale(1, {})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "waits", ["wait", "exit 0"], ids=["a command that waits for its child", "one that leaves it with its output"]
)
async def test_what_a_command_started_ends_with_it(tmp_path: Path, waits: str) -> None:
    said = tmp_path / "pid"
    argv = ("sh", "-c", f"sleep 60 & echo $! > {said}.new; mv {said}.new {said}; {waits}")
    driver = CommandDriver("jobs", Command(argv=argv, count=("true",), timeout=timedelta(seconds=1)))
    with pytest.raises(DriverFailed, match="did not end within 1 s and was ended"):
        await driver.scale(1, {})
    pid = int(said.read_text())

    async def gone() -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            return True

    await until(gone)


# ── compose ──────────────────────────────────────────────────────────────────────────────────────────────────────

DOCKER = """
import json, pathlib, sys
path = pathlib.Path(__file__).with_name("containers.json")
known = json.loads(path.read_text()) if path.exists() else {}
words = sys.argv[1:]
with path.with_name("said").open("a") as said:
    print(*words, file=said)
match words:
    case ["compose", "ps", "-q", "-a", "job"]:
        print("\\n".join(known))
        for one in [one for one in known if known[one].get("goes")]:
            del known[one]
    case ["compose", "up", "-d", "--no-recreate", "--scale", scale, "job"]:
        total = int(scale.partition("=")[2])
        service = {one: box for one, box in known.items() if not box["one_off"]}
        for one in sorted(service, key=lambda one: service[one]["number"])[total:]:
            del known[one]
        for one in service.keys() & known.keys():
            if not known[one]["running"]:
                known[one] |= {"running": True, "started": known[one]["started"] + 1}
        for number in range(1, total + 1):
            taken = [box["number"] for box in known.values() if not box["one_off"]]
            if number not in taken and len(taken) < total:
                known[f"{number:x}" * 64] = {"running": True, "started": 1, "number": number, "one_off": False}
    case ["inspect", "--format", _, *ids]:
        for one in ids:
            if one not in known:
                sys.exit(f"Error: No such object: {one}")
            box = known[one]
            print(one, str(box["running"]).lower(), box["started"], box["number"], str(box["one_off"]).lower())
    case ["update", "--restart=no", _]:
        pass
    case ["kill", "--signal=USR1", _]:
        pass
    case ["stop", one]:
        known[one]["running"] = False
    case ["rm", one]:
        assert not known[one]["running"]
        del known[one]
    case _:
        sys.exit(f"unknown: {words}")
path.write_text(json.dumps(known))
"""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    (tmp_path / "docker.py").write_text(DOCKER)
    return tmp_path


def compose_driver(docker: Path, patience_s: float = 60) -> ComposeDriver:
    run = (sys.executable, str(docker / "docker.py"))
    told = Compose(service="job", folder=docker, compose=(*run, "compose"), docker=run)
    return ComposeDriver("jobs", told, patience_s=patience_s)


def change(docker: Path, number: int, **fields: Any) -> None:
    """Change what is true of a container; make it, if there is none of this number."""
    path = docker / "containers.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    new = {"running": True, "started": 1, "number": number, "one_off": False}
    known[f"{number:x}" * 64] = {**known.get(f"{number:x}" * 64, new), **fields}
    path.write_text(json.dumps(known))


async def test_compose_grows_by_scale_and_shrinks_by_draining_the_highest(docker: Path) -> None:
    driver = compose_driver(docker)
    assert (await driver.look()).count == 0
    await driver.scale(3, {})
    crew = await driver.look()
    assert crew.working == {"1" * 12, "2" * 12, "3" * 12}
    assert crew.member_of(beat("job-a", host="2" * 12)) == "2" * 12
    assert crew.member_of(beat("job-a", host="9" * 12)) is None
    await driver.scale(2, {})
    assert f"kill --signal=USR1 {'3' * 64}\n" in (docker / "said").read_text()
    await counts(driver, 2, leaving=1)
    change(docker, 3, running=False)
    await counts(driver, 2)
    assert f"rm {'3' * 64}\n" in (docker / "said").read_text()


async def test_compose_keeps_who_drains_when_it_grows_again(docker: Path) -> None:
    driver = compose_driver(docker)
    await driver.scale(2, {})
    await driver.scale(1, {})
    await driver.scale(2, {})
    await counts(driver, 2, leaving=1)
    assert "--scale job=3" in (docker / "said").read_text()


async def test_compose_stops_who_drains_for_too_long(docker: Path) -> None:
    driver = compose_driver(docker, patience_s=0)
    await driver.scale(2, {})
    await driver.scale(1, {})
    await counts(driver, 1)


async def test_compose_lets_containers_of_somebody_s_own_be(docker: Path) -> None:
    change(docker, 8, one_off=True)
    change(docker, 9, one_off=True, running=False)
    driver = compose_driver(docker)
    assert (await driver.look()).count == 0
    await driver.scale(2, {})
    assert (await driver.look()).working == {"1" * 12, "2" * 12}
    await driver.scale(0, {})
    said = (docker / "said").read_text()
    assert not any(f"{verb} {number * 64}" in said for verb in ("rm", "USR1") for number in ("8", "9"))


async def test_compose_believes_in_a_new_life_of_a_container_that_drained(docker: Path) -> None:
    driver = compose_driver(docker, patience_s=0)
    await driver.scale(2, {})
    await driver.scale(1, {})
    change(docker, 2, started=2)
    await counts(driver, 2)
    assert f"stop {'2' * 64}" not in (docker / "said").read_text()


async def test_compose_clears_away_who_ended_before_it_grows(docker: Path) -> None:
    """Otherwise compose starts one that ended, and removes one that drains and still works."""
    driver = compose_driver(docker)
    await driver.scale(4, {})
    await driver.scale(3, {})
    for number in (1, 2):
        change(docker, number, running=False)
    await counts(driver, 1, leaving=1)
    await driver.scale(2, {})
    crew = await driver.look()
    assert (len(crew.working), crew.leaving) == (2, {"4" * 12})
    assert f"rm {'1' * 64}\n" in (docker / "said").read_text()


async def test_compose_does_not_mind_a_container_that_goes_while_it_looks(docker: Path) -> None:
    driver = compose_driver(docker)
    await driver.scale(2, {})
    change(docker, 2, goes=True)
    assert (await driver.look()).working == {"1" * 12}
