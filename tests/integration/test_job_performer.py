"""The performer of jobs, on this host, with real commands."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from warrener.errors import Cause, TaskFailed
from warrener.ids import BootId, WorkerName
from warrener.messages import Kind, Order
from warrener.performer import Assignment
from warrener.site import Site
from warrener.targets.local import LocalTarget
from warrener_services.job_submission.performer import JobPerformer

WAIT_FOR_GO = "while [ ! -e go ]; do sleep 0.02; done"
DEADLINE_S = 15.0


class Worker:
    """What a worker of jobs has, and how it hands out work; `again` is its next life."""

    def __init__(self, folder: Path, name: str = "job-here") -> None:
        self.folder = folder
        self.name = name
        self.site = Site("local", folder / "site")
        self.secrets = folder / "secrets"
        self.secrets.mkdir(exist_ok=True)
        self.target = LocalTarget(self.site.attempts)
        self.performer = JobPerformer(
            self.target, self.secrets, site=self.site, worker=WorkerName(name), surroundings={"PATH": "/usr/bin:/bin"}
        )
        self.said = {"stdout": "", "stderr": ""}

    def again(self, name: str | None = None) -> Worker:
        return Worker(self.folder, name or self.name)

    def hide(self, name: str, value: str) -> None:
        (self.secrets / name).touch(0o600)
        (self.secrets / name).write_text(value)

    def log(self, stream, text):
        self.said[stream] += text

    def assignment(self, script: str = "true", *, attempt=1, timeout_s=None, lease_s=60.0, **body) -> Assignment:
        order = Order(
            run="0123456789abcdef",
            n=1,
            attempt=attempt,
            task_name="fit",
            workflow="w",
            task_kind=Kind.JOB,
            body={"argv": ["/bin/sh", "-c", script], **body},
            timeout_s=timeout_s,
        )
        until_s = time.clock_gettime(time.CLOCK_BOOTTIME) + lease_s
        return Assignment(order, self.site, "0" * 32, BootId("boot1"), until_s, self.log)

    async def failure(self, assignment: Assignment) -> TaskFailed:
        with pytest.raises(TaskFailed) as failed:
            await self.performer.perform(assignment)
        return failed.value

    @property
    def run_folder(self) -> Path:
        return self.site.run_folder("0123456789abcdef")


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


async def until(condition):
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)
    return found


def running(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


async def test_the_output_file_is_the_output(worker):
    assert await worker.performer.perform(worker.assignment('echo \'{"a": 1}\' > "$WARRENER_OUTPUT"')) == {"a": 1}


async def test_a_job_runs_in_its_runs_folder_with_its_files(worker):
    done = await worker.performer.perform(worker.assignment("pwd; cat in/x", files={"in/x": "hello"}))
    assert done == {"exit_code": 0}
    assert worker.said["stdout"] == f"{worker.run_folder}\nhello"


async def test_a_failure_tells_the_code_and_the_last_lines(worker):
    failed = await worker.failure(worker.assignment("echo fine; echo it is broken >&2; exit 9"))
    assert (failed.cause, failed.exit_code) == (Cause.EXIT, 9)
    assert str(failed) == "the command ended with exit code 9\nit is broken"


async def test_a_long_complaint_is_told_by_its_end(worker):
    failed = await worker.failure(worker.assignment("seq 1 20000 >&2; exit 1"))
    assert len(str(failed)) < 2200
    assert str(failed).endswith("19999\n20000")


async def test_a_command_that_does_not_exist(worker):
    failed = await worker.failure(worker.assignment(argv=["no-such-command"]))
    assert failed.cause is Cause.ERROR
    assert "no-such-command cannot be started" in str(failed)


async def test_a_timeout(worker):
    failed = await worker.failure(worker.assignment("sleep 60", timeout_s=0.2))
    assert failed.cause is Cause.TIMEOUT


async def test_a_lost_lease(worker):
    failed = await worker.failure(worker.assignment("sleep 60", lease_s=0.3))
    assert failed.cause is Cause.LOST


async def test_an_extension_reaches_the_runner(worker):
    assignment = worker.assignment(WAIT_FOR_GO, lease_s=1.0)
    performing = asyncio.create_task(worker.performer.perform(assignment))
    folder = worker.site.attempt_folder(assignment.ref)
    await until((folder / "command").exists)
    first = assignment.lease_until_s
    assignment.lease_until_s += 60
    await worker.performer.extended(assignment)
    await until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > first + 0.2)
    (worker.run_folder / "go").touch()
    assert await performing == {"exit_code": 0}


async def test_what_it_prints_is_told_while_it_runs(worker):
    performing = asyncio.create_task(worker.performer.perform(worker.assignment(f"echo now; {WAIT_FOR_GO}; echo end")))
    await until(lambda: worker.said["stdout"] == "now\n")
    (worker.run_folder / "go").touch()
    await performing
    assert worker.said["stdout"] == "now\nend\n"


async def test_bytes_that_are_no_text_are_told_as_such(worker):
    await worker.performer.perform(worker.assignment(r"printf 'a\377b\303\244'"))
    assert worker.said["stdout"] == "a\ufffdbä"


async def test_secrets_do_not_come_out(worker):
    worker.hide("db", "canary-7261\n")
    script = (
        'echo "it is $P"; echo "$P" >&2; printf \'{"p": "%s"}\' "$P" > "$WARRENER_OUTPUT"; '
        'printf %s "$P" | cut -c1-6 | tr -d "\\n"; sleep 0.4; printf %s "$P" | cut -c7-; exit $CODE'
    )
    env = {"P": "secret://db", "CODE": "0"}
    assert await worker.performer.perform(worker.assignment(script, env=env)) == {"p": "***"}
    failed = await worker.failure(worker.assignment(script, env=env | {"CODE": "1"}, attempt=2))
    assert "canary" not in str(failed) + str(worker.said)
    assert "it is ***" in worker.said["stdout"]


async def test_a_missing_secret_is_refused_before_anything_runs(worker):
    failed = await worker.failure(worker.assignment("touch ran", env={"P": "secret://none"}))
    assert failed.cause is Cause.REFUSED
    assert "the secret 'none'" in str(failed)
    assert not worker.site.attempts.exists()


class TestCancelled:
    @pytest.mark.parametrize("reason", ["cancelled", "not yours"])
    async def test_nothing_is_left_when_it_is_stopped(self, worker, reason):
        assignment = worker.assignment("setsid sleep 300 & sleep 300")
        folder = worker.site.attempt_folder(assignment.ref)
        performing = asyncio.create_task(worker.performer.perform(assignment))
        await until((folder / "command").exists)
        assignment.stop = reason
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing
        assert running(str(folder)) == []
        assert json.loads((folder / "end.json").read_text())["stopped"] == reason

    async def test_nothing_is_left_when_it_is_stopped_at_once_and_impatiently(self, worker):
        assignment = worker.assignment("sleep 300")
        folder = worker.site.attempt_folder(assignment.ref)
        performing = asyncio.create_task(worker.performer.perform(assignment))
        await until(folder.exists)
        assignment.stop = "cancelled"
        for _ in range(3):
            performing.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await performing
        assert running(str(folder)) == []

    async def test_a_stopping_worker_leaves_its_jobs_to_their_runners(self, worker):
        assignment = worker.assignment(f"echo one; {WAIT_FOR_GO}; echo two; exit 6")
        performing = asyncio.create_task(worker.performer.perform(assignment))
        await until(lambda: worker.said["stdout"] == "one\n")
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing

        next_life = worker.again()
        (left,) = await next_life.performer.recover()
        assert (left.order, left.token, left.boot) == (assignment.order, assignment.token, assignment.boot)
        assert left.lease_until_s == pytest.approx(assignment.lease_until_s, abs=0.01)
        left.log = next_life.log
        joined = asyncio.create_task(next_life.failure(left))
        (worker.run_folder / "go").touch()
        assert (await joined).exit_code == 6
        assert next_life.said["stdout"] == "one\ntwo\n"
        await next_life.performer.forget(left.ref)
        assert await next_life.performer.recover() == []


class TestRecovered:
    async def left_by(self, worker, script, **body):
        assignment = worker.assignment(script, **body)
        performing = asyncio.create_task(worker.performer.perform(assignment))
        await until((worker.site.attempt_folder(assignment.ref) / "command").exists)
        performing.cancel()
        await asyncio.wait({performing})

    async def test_what_the_job_did_to_its_files_is_kept(self, worker):
        await self.left_by(worker, f"echo changed > x; touch done; {WAIT_FOR_GO}; cat x", files={"x": "first"})
        await until((worker.run_folder / "done").exists)
        next_life = worker.again()
        (left,) = await next_life.performer.recover()
        left.log = next_life.log
        (worker.run_folder / "go").touch()
        await next_life.performer.perform(left)
        assert next_life.said["stdout"] == "changed\n"

    async def test_another_worker_of_the_site_leaves_it_alone(self, worker):
        await self.left_by(worker, "true")
        assert await worker.again("job-there").performer.recover() == []

    async def test_a_job_that_cannot_be_joined_is_stopped(self, worker):
        worker.hide("db", "canary-7261")
        await self.left_by(worker, "sleep 300", env={"P": "secret://db"})
        (worker.secrets / "db").unlink()
        next_life = worker.again()
        (left,) = await next_life.performer.recover()
        assert (await next_life.failure(left)).cause is Cause.REFUSED
        assert running(str(worker.site.attempt_folder(left.ref))) == []

    async def test_a_job_that_is_cancelled_before_it_is_joined_is_stopped(self, worker):
        await self.left_by(worker, "sleep 300")
        next_life = worker.again()
        (left,) = await next_life.performer.recover()
        left.log = next_life.log
        left.stop = "cancelled"
        joining = asyncio.create_task(next_life.performer.perform(left))
        await asyncio.sleep(0)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert running(str(worker.site.attempt_folder(left.ref))) == []

    async def test_forgetting_works_without_recovering(self, worker):
        assignment = worker.assignment()
        await worker.performer.perform(assignment)
        next_life = worker.again()
        await next_life.performer.forget(assignment.ref)
        await next_life.performer.forget(assignment.ref)
        assert await next_life.target.found() == []
