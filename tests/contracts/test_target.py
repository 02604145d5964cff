"""What every target promises; run on this host's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from warrener.errors import TaskFailed
from warrener.ids import AttemptRef, RunId
from warrener.target import Job, Started
from warrener.targets import local
from warrener.targets.local import LocalTarget

REF = AttemptRef(RunId("0123456789abcdef"), 2, 1)
ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture
def target(tmp_path: Path) -> LocalTarget:
    return LocalTarget(tmp_path / "attempts")


@pytest.fixture
def job(tmp_path: Path):
    def make(*argv: str, **fields) -> Job:
        return Job(argv=argv, folder=tmp_path, env=ENV | fields.pop("env", {}), **fields)

    return make


def shell(script: str) -> tuple[str, str, str]:
    return ("/bin/sh", "-c", script)


def python(program: str) -> tuple[str, str, str]:
    return (sys.executable, "-c", program)


def soon(seconds: float) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) + seconds


async def start(target, job, ref=REF, lease_s=60.0, note="note"):
    return await target.start(ref, job, lease_until_s=soon(lease_s), note=note)


async def until(condition, within_s: float = 15.0):
    """Wait for something that another process does."""
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)
    return found


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def carrying(mark: str) -> list[int]:
    """The living processes with a text in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if alive(pid)]


def runner_of(started: Started) -> int:
    return int((started.folder / "runner").read_text().split()[0])


class TestEnds:
    async def test_tells_the_exit_code_and_keeps_what_was_printed(self, target, job):
        started = await start(target, job(*shell("echo out; echo err >&2; exit 3")))
        ended = await target.wait(started)
        assert (ended.exit_code, ended.stopped, ended.error) == (3, None, None)
        assert text_of(started.folder / "stdout") == "out\n"
        assert text_of(started.folder / "stderr") == "err\n"

    async def test_tells_the_signal_that_killed_the_command(self, target, job):
        ended = await target.wait(await start(target, job(*shell("kill -KILL $$"))))
        assert ended.exit_code == -signal.SIGKILL
        assert ended.error is None

    async def test_says_which_command_does_not_exist(self, target, job):
        ended = await target.wait(await start(target, job("no-such-command-here")))
        assert ended.error == "the command no-such-command-here cannot be started: there is no such file"

    async def test_says_which_command_may_not_be_executed(self, target, job, tmp_path):
        (tmp_path / "plain").write_text("hello")
        (tmp_path / "plain").chmod(0o600)
        ended = await target.wait(await start(target, job("./plain")))
        assert "permission denied" in ended.error

    async def test_says_that_the_folder_is_missing(self, target, tmp_path):
        ended = await target.wait(await start(target, Job(argv=["true"], folder=tmp_path / "away", env=ENV)))
        assert "away cannot be entered: there is no such file" in ended.error

    async def test_measures_the_time_of_the_command(self, target, job):
        ended = await target.wait(await start(target, job("sleep", "0.3")))
        assert 0.3 <= ended.seconds < 3

    async def test_gives_the_command_its_output_file_and_folder(self, target, job, tmp_path):
        started = await start(target, job(*shell('pwd; echo 7 > "$WARRENER_OUTPUT"')))
        await target.wait(started)
        assert text_of(started.folder / "stdout").strip() == str(tmp_path)
        assert text_of(started.folder / "output.json") == "7\n"

    async def test_tells_the_end_again_long_after_it(self, target, job):
        started = await start(target, job("true"))
        first = await target.wait(started)
        assert await target.wait(started) == first

    async def test_argv_never_meets_a_shell(self, target, job):
        started = await start(target, job("echo", "$(id); `id` > x"))
        await target.wait(started)
        assert text_of(started.folder / "stdout") == "$(id); `id` > x\n"


class TestOnce:
    async def test_starting_twice_runs_once(self, target, job, tmp_path):
        work = job(*shell("echo ran >> count"))
        first, second = await asyncio.gather(start(target, work), start(target, work))
        await asyncio.gather(target.wait(first), target.wait(second))
        await target.wait(await start(target, work))
        assert text_of(tmp_path / "count") == "ran\n"

    async def test_two_workers_starting_at_the_same_time_run_once(self, target, job, tmp_path):
        work = job(*shell("echo ran >> count"))
        others = [LocalTarget(tmp_path / "attempts") for _ in range(4)]
        for started in await asyncio.gather(*(start(other, work) for other in others)):
            assert (await target.wait(started)).exit_code == 0
        assert text_of(tmp_path / "count") == "ran\n"

    async def test_an_intent_without_a_runner_can_be_started(self, target, job, tmp_path, monkeypatch):
        work = job(*shell("echo ran >> count"))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/no/such/python")
            with pytest.raises(TaskFailed, match="no runner could be started"):
                await start(target, work)
        (found,) = await LocalTarget(tmp_path / "attempts").found()
        assert found.ref == REF
        ended = await target.wait(await start(target, work))
        assert ended.exit_code == 0
        assert text_of(tmp_path / "count") == "ran\n"

    async def test_a_runner_that_hangs_is_killed_and_never_starts(self, target, job, tmp_path, monkeypatch):
        (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
        with monkeypatch.context() as patch:
            patch.setattr(local, "START_WITHIN_S", 0.3)
            patch.setattr(local.disk, "program", lambda: str(tmp_path / "hangs.py"))
            with pytest.raises(TaskFailed, match=r"did nothing for 0\.3 s"):
                await start(target, job("true"))
        assert "never started" in (await target.wait(await start(target, job("true")))).error

    async def test_a_runner_that_breaks_says_why(self, target, job, tmp_path, monkeypatch):
        (tmp_path / "breaks.py").write_text("raise SystemExit('no such luck')")
        monkeypatch.setattr(local.disk, "program", lambda: str(tmp_path / "breaks.py"))
        with pytest.raises(TaskFailed, match="ended at once: no such luck"):
            await start(target, job("true"))

    async def test_an_attempt_that_was_waited_for_before_it_started_never_starts(self, target, job, tmp_path):
        started = await start(target, job(*shell("echo ran >> count")))
        await target.wait(started)
        for name in ("runner", "end.json"):
            (started.folder / name).unlink()
        assert "never started" in (await target.wait(started)).error
        ended = await target.wait(await start(target, job(*shell("echo ran >> count"))))
        assert "never started" in ended.error
        assert text_of(tmp_path / "count") == "ran\n"


class TestOutlivesItsWorker:
    async def test_another_life_finds_it_and_waits(self, target, job, tmp_path):
        await start(target, job(*shell("while [ ! -e go ]; do sleep 0.02; done; exit 4")), note='{"a": "ü"}')
        (found,) = await LocalTarget(tmp_path / "attempts").found()
        assert (found.ref, found.note) == (REF, '{"a": "ü"}')
        assert found.lease_until_s == pytest.approx(soon(60), abs=10)
        waiting = asyncio.create_task(LocalTarget(tmp_path / "attempts").wait(found))
        (tmp_path / "go").touch()
        assert (await waiting).exit_code == 4

    async def test_abandoning_the_wait_leaves_the_job_alone(self, target, job, tmp_path):
        started = await start(target, job(*shell("while [ ! -e go ]; do sleep 0.02; done")))
        waiting = asyncio.create_task(target.wait(started))
        await until((started.folder / "command").exists)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert alive(runner_of(started))
        (tmp_path / "go").touch()
        assert (await target.wait(started)).exit_code == 0

    async def test_forgetting_removes_everything(self, target, job, tmp_path):
        started = await start(target, job("true"))
        await target.wait(started)
        await target.forget(started)
        assert await target.found() == []
        assert list((tmp_path / "attempts").iterdir()) == []
        await target.forget(started)
        await target.extend(started, soon(5))
        await target.stop(started, "cancelled")

    async def test_no_zombie_is_left(self, target, job):
        started = await start(target, job("true"))
        pid = runner_of(started)
        await target.wait(started)
        assert not Path(f"/proc/{pid}").exists()


class TestStops:
    async def test_on_request_and_says_why(self, target, job):
        started = await start(target, job("sleep", "60"))
        await until((started.folder / "command").exists)
        await target.stop(started, "not yours")
        ended = await target.wait(started)
        assert ended.stopped == "not yours"
        assert ended.exit_code == -signal.SIGTERM

    async def test_before_the_command_started(self, target, job, tmp_path):
        started = await start(target, job(*shell("echo ran >> count")), lease_s=-1)
        await target.wait(started)
        for name in ("runner", "end.json"):
            (started.folder / name).unlink()
        await target.stop(started, "cancelled")
        assert (await target.wait(await start(target, job("true")))).stopped == "cancelled"
        assert text_of(tmp_path / "count") == ""

    async def test_when_the_timeout_runs_out(self, target, job):
        ended = await target.wait(await start(target, job("sleep", "60", timeout_s=0.2)))
        assert ended.stopped == "timeout"
        assert 0.2 <= ended.seconds < 5

    async def test_when_the_lease_runs_out_without_any_worker(self, target, job):
        started = await start(target, job("sleep", "60"), lease_s=0.3)
        await until((started.folder / "end.json").exists)
        assert (await target.wait(started)).stopped == "lease"
        assert carrying(str(started.folder)) == []

    async def test_an_extended_lease_holds(self, target, job, tmp_path):
        started = await start(target, job(*shell("while [ ! -e go ]; do sleep 0.02; done")), lease_s=0.4)
        await target.extend(started, soon(60))
        await until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > started.lease_until_s + 0.2)
        (tmp_path / "go").touch()
        assert (await target.wait(started)).stopped is None

    async def test_does_not_start_what_has_no_lease_any_more(self, target, job, tmp_path):
        started = await start(target, job(*shell("echo ran >> count")), lease_s=-1)
        assert (await target.wait(started)).stopped == "lease"
        assert text_of(tmp_path / "count") == ""

    async def test_kills_what_ignores_sigterm(self, target, job, tmp_path):
        started = await start(target, job(*shell("trap '' TERM; touch set; sleep 60 & wait; sleep 60"), grace_s=0.3))
        await until((tmp_path / "set").exists)
        await target.stop(started, "cancelled")
        ended = await target.wait(started)
        assert (ended.stopped, ended.exit_code) == ("cancelled", -signal.SIGKILL)
        assert carrying(str(started.folder)) == []

    async def test_lets_the_command_clean_up_within_the_grace(self, target, job, tmp_path):
        script = "trap 'sleep 0.2; touch cleaned; exit 5' TERM; touch set; while :; do sleep 0.05; done"
        started = await start(target, job(*shell(script)))
        await until((tmp_path / "set").exists)
        await target.stop(started, "cancelled")
        ended = await target.wait(started)
        assert (ended.stopped, ended.exit_code) == ("cancelled", 5)
        assert (tmp_path / "cleaned").exists()

    async def test_a_frozen_command(self, target, job):
        started = await start(target, job(*shell("kill -STOP $$; sleep 60"), grace_s=0.5))
        command = int((await until(lambda: text_of(started.folder / "command"))).split()[0])
        await until(lambda: Path(f"/proc/{command}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        await target.stop(started, "cancelled")
        assert (await target.wait(started)).stopped == "cancelled"

    async def test_stopping_what_has_ended_changes_nothing(self, target, job):
        started = await start(target, job("true"))
        first = await target.wait(started)
        await target.stop(started, "cancelled")
        assert await target.wait(started) == first


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in (0, 1, 2):
            os.close(fd)
        open("daemon.new", "w").write(str(os.getpid()))
        os.rename("daemon.new", "daemon")
        os.execve("/bin/sleep", ["sleep", "300"], {})
    os._exit(0)
while not os.path.exists("daemon"):
    time.sleep(0.01)
"""

STORM = """
import os, time
for _ in range(40):
    if os.fork() == 0:
        os.setsid()
        break
end = time.monotonic() + 20
open("storm", "w").close()
while time.monotonic() < end:
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        pass
    if os.getpid() % 3 == 0:
        os.setsid() if os.getpid() != os.getpgrp() else None
"""


class TestNothingIsLeft:
    async def test_of_a_daemon_when_the_command_ends(self, target, job, tmp_path):
        ended = await target.wait(await start(target, job(*python(DAEMON))))
        assert ended.exit_code == 0
        assert not alive(int(text_of(tmp_path / "daemon")))

    async def test_of_a_daemon_when_the_job_is_stopped(self, target, job, tmp_path):
        started = await start(target, job(*python(DAEMON + "\ntime.sleep(60)"), grace_s=0.2))
        daemon = int(await until(lambda: text_of(tmp_path / "daemon")))
        await target.stop(started, "cancelled")
        await target.wait(started)
        assert not alive(daemon)

    async def test_of_a_storm_of_forks(self, target, job, tmp_path):
        started = await start(target, job(*python(STORM), grace_s=0.1))
        await until(lambda: (tmp_path / "storm").exists() or (started.folder / "end.json").exists())
        await target.stop(started, "cancelled")
        ended = await target.wait(started)
        assert ended.error is None
        assert carrying(str(started.folder)) == []

    async def test_when_the_runner_is_killed(self, target, job, tmp_path):
        script = "setsid sleep 300 & sleep 300 & echo $$ > pid; mv pid shell; wait"
        started = await start(target, job(*shell(script)))
        await until((tmp_path / "shell").exists)
        os.kill(runner_of(started), signal.SIGKILL)
        ended = await target.wait(started)
        assert "the runner died" in ended.error
        assert carrying(str(started.folder)) == []

    async def test_of_a_job_that_is_lost(self, target, job, tmp_path):
        started = await start(target, job(*shell("setsid sleep 300 & touch there; wait")))
        await until((tmp_path / "there").exists)
        assert not await target.lost(started)
        os.kill(runner_of(started), signal.SIGKILL)
        await until(lambda: not alive(runner_of(started)))
        assert await target.lost(started)
        assert carrying(str(started.folder)) == []

    async def test_of_the_command_when_the_runner_is_killed_and_nobody_waits(self, target, job, tmp_path):
        started = await start(target, job("sleep", "300"))
        command = int((await until(lambda: text_of(started.folder / "command"))).split()[0])
        os.kill(runner_of(started), signal.SIGKILL)
        await until(lambda: not alive(command))
        assert "the runner died" in (await target.wait(started)).error

    async def test_when_the_runner_is_told_to_end_by_somebody_else(self, target, job):
        started = await start(target, job("sleep", "300"))
        await until((started.folder / "command").exists)
        os.kill(runner_of(started), signal.SIGTERM)
        ended = await target.wait(started)
        assert "something other than its worker" in ended.error
        assert ended.stopped is None


class TestKeepsWhatWasPrinted:
    async def test_the_first_half_and_the_newest_half(self, target, job):
        program = "for i in range(100000): print(f'{i:06}')"
        started = await start(target, job(*python(program), keep_bytes=7000))
        await target.wait(started)
        kept = text_of(started.folder / "stdout")
        assert kept.startswith("000000\n")
        assert kept.endswith("099999\n")
        assert f"[warrener: {700_000 - 7000} bytes dropped here]" in kept
        numbers = [int(line) for line in kept.splitlines() if line.isdecimal()]
        assert numbers == [*range(500), *range(99_500, 100_000)]

    async def test_all_of_it_if_it_fits_exactly(self, target, job):
        started = await start(target, job(*python("print('x' * 4999)"), keep_bytes=5000))
        await target.wait(started)
        assert text_of(started.folder / "stdout") == "x" * 4999 + "\n"

    async def test_a_flood_neither_hangs_nor_fills_anything(self, target, job):
        started = await start(target, job("yes", "a flood of words", timeout_s=1.0, keep_bytes=100_000))
        ended = await target.wait(started)
        assert ended.stopped == "timeout"
        kept = sum(path.stat().st_size for path in started.folder.iterdir())
        assert kept < 110_000
        assert "bytes dropped here" in text_of(started.folder / "stdout")

    async def test_bytes_that_are_no_text(self, target, job):
        started = await start(target, job(*shell(r"printf 'a\377\376b'")))
        await target.wait(started)
        assert (started.folder / "stdout").read_bytes() == b"a\xff\xfeb"


class TestSecrets:
    async def test_reach_the_command_and_nothing_else(self, target, job, tmp_path):
        script = 'echo "$PASSWORD" > new; mv new told; while [ ! -e go ]; do sleep 0.02; done'
        started = await start(target, job(*shell(script), secrets={"PASSWORD": "canary-7261"}))
        await until((tmp_path / "told").exists)
        assert text_of(tmp_path / "told") == "canary-7261\n"
        runner = Path(f"/proc/{runner_of(started)}")
        assert b"canary" not in (runner / "cmdline").read_bytes() + (runner / "environ").read_bytes()
        (tmp_path / "go").touch()
        await target.wait(started)
        for path in started.folder.iterdir():
            assert b"canary" not in path.read_bytes(), path

    async def test_the_folder_is_closed_to_others(self, target, job):
        started = await start(target, job("true"))
        await target.wait(started)
        assert started.folder.stat().st_mode & 0o777 == 0o700

    async def test_the_command_sees_nothing_of_the_workers_environment(self, target, job, monkeypatch):
        monkeypatch.setenv("WARRENER_BROKER", "amqp://user:canary@host")
        started = await start(target, job("env"))
        await target.wait(started)
        assert "canary" not in text_of(started.folder / "stdout")
