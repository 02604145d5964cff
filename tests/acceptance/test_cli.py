"""The commands as people use them: real processes, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HELLO = """\
workflow: hello
params:
  who: {type: string, default: world}
tasks:
  greet:
    job: {argv: [echo, "hello {{ params.who }}"]}
  double:
    needs: [greet]
    call: {function: numbers.double, args: {x: 21}}
"""
BAD = """\
workflow: bad
tasks:
  boom:
    job: {argv: [sh, -c, "printf '\\\\033[31mred\\\\033[0m\\\\n'; echo dead >&2; exit 3"]}
  later:
    needs: [boom]
    job: {argv: [echo, never]}
"""
SLOW = """\
workflow: slow
tasks:
  nap:
    job: {argv: [sh, -c, "echo begun; exec sleep 60"]}
"""
NOBODY = """\
workflow: nobody
tasks:
  wait:
    call: {function: absent.f, args: {}}
"""
APP = """\
import warrener

worker = warrener.Worker("numbers")


@worker.function
def double(x: int) -> int:
    return 2 * x
"""
EXECUTED = """\
{"name": "Two", "schemaVersion": "1.5", "workflow": {
  "specification": {"tasks": [{"id": "second", "parents": ["first"]}, {"id": "first", "parents": []}]},
  "execution": {"tasks": [{"id": "first", "runtimeInSeconds": 1}, {"id": "second", "runtimeInSeconds": 2.0}]}}}
"""
RUN_ID = re.compile(r"\b[0-9a-hjkmnp-tv-z]{16}\b")


@dataclass(frozen=True)
class Terminal:
    """A folder with files, and the environment of a `warrener up`."""

    folder: Path
    environment: dict[str, str]

    @property
    def command(self) -> list[str]:
        return [str(Path(sys.executable).with_name("warrener"))]

    def types(self, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *words],
            cwd=self.folder,
            env=self.environment | given,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    def starts(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def submits(self, file: str, *words: str) -> str:
        done = self.types("submit", file, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _terminal(folder: Path) -> Terminal:
    ours = (
        "WARRENER_",
        "COVERAGE_",
        "PYTHONUNBUFFERED",
    )  # unbuffered by chance, a screen that comes too late is not seen
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    for name, text in (("hello", HELLO), ("bad", BAD), ("slow", SLOW), ("nobody", NOBODY)):
        (folder / f"{name}.yaml").write_text(text)
    (folder / "my_numbers.py").write_text(APP)
    (folder / "executed.json").write_text(EXECUTED)
    return Terminal(folder, clean | {"WARRENER_STATE": str(folder / "state"), "TERM": "xterm"})


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    """A terminal beside a running `warrener up`."""
    with tempfile.TemporaryDirectory(prefix="warrener-") as folder:
        terminal = _terminal(Path(folder))
        up = terminal.starts("up", "--app", "my_numbers", "--app", "warrener.replay", "--slots", "2")
        try:
            assert up.stdout is not None
            screen = ""
            while "Ctrl-C stops it" not in screen:
                line = up.stdout.readline()
                assert line, f"`up` ended: {screen}"
                screen += line
            assert "listens on" in screen
            assert "serves      numbers: double" in screen
            yield terminal
        finally:
            up.send_signal(signal.SIGINT)
            try:
                rest, _ = up.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                up.kill()
                up.communicate()
                raise
        assert "Stopping" in rest
        assert up.returncode == 0, rest
        assert not (terminal.folder / "state/gateway.sock").exists()


@pytest.fixture
def offline(tmp_path: Path) -> Terminal:
    """A terminal where nothing runs."""
    return _terminal(tmp_path)


# ── with `warrener up` beside it ────────────────────────────────────────────────────────────────────────────────


def test_a_watched_run_tells_its_tasks_and_its_outputs(terminal: Terminal) -> None:
    done = terminal.types("submit", "hello.yaml", "-p", "who=5", "--watch")
    assert done.returncode == 0, done.stderr
    run = RUN_ID.search(done.stdout)
    assert run
    assert f"{run[0]}/greet succeeded" in done.stdout
    assert "double: 42" in done.stdout
    assert terminal.types("logs", run[0], "greet").stdout == "hello 5\n"


def test_an_imported_execution_runs(terminal: Terminal) -> None:
    done = terminal.types("import", "executed.json", "--time-scale", "0.01", "--submit", "--watch", "--key", "replayed")
    assert done.returncode == 0, done.stderr
    run = RUN_ID.search(done.stdout)
    assert run
    assert "two  succeeded  2 succeeded" in done.stdout
    assert terminal.types("import", "executed.json", "--submit", "--key", "replayed").stdout.startswith(run[0])


def test_the_same_key_is_the_same_run(terminal: Terminal) -> None:
    first = terminal.submits("hello.yaml", "--key", "once")
    again = terminal.submits("hello.yaml", "--key", "once")
    assert again.startswith(first)
    assert "it is the same run" in again


def test_a_failed_run_ends_a_watch_with_1_and_says_what_to_type(terminal: Terminal) -> None:
    done = terminal.types("submit", "bad.yaml", "-w")
    assert done.returncode == 1
    run = RUN_ID.search(done.stdout)
    assert run
    assert "exit code 3" in done.stdout
    assert f"warrener logs {run[0]} boom" in done.stdout
    logs = terminal.types("logs", run[0], "boom", "--follow")
    assert (logs.stdout, logs.stderr) == ("red\n", "dead\n")
    assert "because boom (failed) did not succeed" in terminal.types("why", f"{run[0]}/later").stdout
    assert "exit code 3" in terminal.types("status", f"{run[0]}/boom").stdout
    assert "upstream failed" in terminal.types("status", run[0]).stdout


def test_a_failed_run_can_be_retried(terminal: Terminal) -> None:
    run = RUN_ID.search(terminal.types("submit", "bad.yaml", "-w").stdout)
    assert run
    assert "another go" in terminal.types("retry", run[0]).stdout
    assert terminal.types("status", run[0], "--watch").returncode == 1


def test_a_running_run_is_followed_and_cancelled(terminal: Terminal) -> None:
    run = terminal.submits("slow.yaml")
    with terminal.starts("logs", run, "nap", "--stdout", "--follow") as follow:
        assert follow.stdout is not None
        assert follow.stdout.readline() == "begun\n"
        assert terminal.types("cancel", run).returncode == 0
        assert follow.wait(timeout=30) == 0
    watched = terminal.types("status", run, "--watch")
    assert watched.returncode == 1
    assert "cancelled" in watched.stdout
    again = terminal.types("cancel", run)
    assert (again.returncode, "nothing left to cancel" in again.stderr) == (2, True)


def test_ctrl_c_stops_watching_and_the_run_goes_on(terminal: Terminal) -> None:
    run = terminal.submits("nobody.yaml")
    with terminal.starts("status", run, "--watch") as watch:
        assert watch.stdout is not None
        while "running" not in watch.stdout.readline():
            pass
        watch.send_signal(signal.SIGINT)
        rest = watch.stdout.read()
        assert watch.wait(timeout=10) == 130
    assert f"{run} goes on" in rest
    assert "no worker of app absent is alive" in terminal.types("why", f"{run}/wait").stdout
    assert json.loads(terminal.types("status", run, "--json").stdout)["state"] == "running"
    terminal.types("cancel", run)


def test_on_a_terminal_the_watch_draws_a_bar_and_ends_with_the_summary(terminal: Terminal) -> None:
    pid, screen = pty.fork()
    if pid == 0:
        os.chdir(terminal.folder)
        os.execve(terminal.command[0], [*terminal.command, "submit", "hello.yaml", "-w"], terminal.environment)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is closed when the command ends
        while piece := os.read(screen, 65_536):
            shown += piece
    os.close(screen)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "━" in shown.decode()
    assert "double: 42" in shown.decode()


def test_lists_show_runs_workers_and_parked_messages(terminal: Terminal) -> None:
    run = terminal.submits("hello.yaml", "--owner", "lists")
    assert run in terminal.types("runs", "--owner", "lists").stdout
    workers = terminal.types("workers").stdout
    for kind in ("env", "stage", "job", "call numbers"):
        assert kind in workers
    assert terminal.types("parked", "list").stdout == "Nothing is parked.\n"
    assert json.loads(terminal.types("runs", "--json", "--owner", "lists").stdout)["runs"][0]["id"] == run


def test_a_second_up_in_the_same_folder_is_refused(terminal: Terminal) -> None:
    second = terminal.types("up")
    assert second.returncode == 2
    assert re.search(r"another `warrener up` \(process \d+\) already works in", second.stderr)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("submit", "hello.yaml", "-p", "whom=you"), 2, "no such parameter; did you mean 'who'?"),
        (("submit", "hello.yaml", "--owner", "Not A Name"), 2, "owner"),
        (("status", "zzzzzz"), 2, "there is no run zzzzzz"),
        (("status", "ab"), 2, "too short"),
        (("why", "/"), 2, "RUN or RUN/TASK"),
        (("parked", "show", "7"), 2, "no parked message 7"),
        (("runs", "--state", "faild"), 2, "did you mean 'failed'?"),
    ],
)
def test_wrong_input_is_one_clear_line(terminal: Terminal, words: tuple[str, ...], code: int, sentence: str) -> None:
    done = terminal.types(*words)
    assert done.returncode == code
    assert sentence in done.stderr
    assert done.stderr.startswith("warrener: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


# ── with nothing beside it ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", [("runs",), ("submit", "hello.yaml"), ("workers",), ("parked", "list")])
def test_without_a_gateway_it_says_what_to_start(offline: Terminal, words: tuple[str, ...]) -> None:
    done = offline.types(*words)
    assert done.returncode == 1
    assert "is `warrener up` running?" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("submit", "nope.yaml"), "nope.yaml: cannot be read: No such file or directory"),
        (("submit", "hello.yaml", "-p", "who"), "write a parameter as name=value"),
        (("submit", "hello.yaml", "--params", "nope.yaml"), "No such file"),
        (("submit", "wrong.yaml"), "2 problems\n  wrong.yaml:4: tasks.a.job: the field 'argv' is missing\n"),
        (("validate", "wrong.yaml"), "wrong.yaml:4"),
        (("validate",), "give the FILE of a workflow, or --schema"),
        (("import", "hello.yaml"), "warrener: hello.yaml: is no JSON: line 1, column 1"),
        (("import", "nope.json"), "nope.json: cannot be read: No such file or directory"),
        (("import", "executed.json", "--submit", "-o", "x.yaml"), "--submit and --output: choose one"),
        (("import", "executed.json", "--watch"), "--watch and --key go with --submit"),
        (("import", "executed.json", "--time-scale", "0"), "--time-scale 0: run times are multiplied by it"),
        (("import", "executed.json", "--time-scale", "nan"), "--time-scale nan: "),
        (("import", "executed.json", "--name", "My Run"), "warrener: --name: 'My Run' is no name"),
        (("import", "executed.json", "-o", "/dev/null/x"), "--output /dev/null/x: cannot be written: Not a directory"),
        (("import", "executed.json", "--time-scale", "1e9"), "a duration lies between 0 and 3650 days"),
        (("up", "--app", "no_such_module"), "there is no module no_such_module"),
        (("serve", "scheduler"), "WARRENER_BROKER is not set"),
        (("serve", "schedule"), "schedule"),
        (("keys", "/dev/null/keys"), "cannot make keys"),
        (("nonsense",), "No such command"),
    ],
)
def test_wrong_input_ends_with_2_and_no_traceback(offline: Terminal, words: tuple[str, ...], sentence: str) -> None:
    (offline.folder / "wrong.yaml").write_text("workflow: wrong\ntasks:\n  a:\n    job: {arg: [x]}\n")
    done = offline.types(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_workflow_is_validated_without_a_gateway(offline: Terminal) -> None:
    assert offline.types("validate", "hello.yaml").stdout == "hello.yaml is right: workflow hello, 2 tasks.\n"
    assert json.loads(offline.types("validate", "--schema").stdout)["properties"]["tasks"]


def test_an_execution_is_imported_without_a_gateway(offline: Terminal) -> None:
    written = offline.types("import", "executed.json", "--time-scale", "0.5", "--name", "half")
    assert written.returncode == 0, written.stderr
    (offline.folder / "half.yaml").write_text(written.stdout)
    assert offline.types("validate", "half.yaml").stdout == "half.yaml is right: workflow half, 2 tasks.\n"
    done = offline.types("import", "executed.json", "--real", "-o", "real.yaml")
    assert done.stdout == "real.yaml has 2 tasks of 3 s together.\n"
    assert "sleep" in (offline.folder / "real.yaml").read_text()


def test_keys_are_made_once(offline: Terminal) -> None:
    assert offline.types("keys", "keys").returncode == 0
    before = (offline.folder / "keys/submit.key").read_text()
    assert offline.types("keys", "keys").returncode == 0
    assert (offline.folder / "keys/submit.key").read_text() == before


def test_help_names_every_command_and_comes_without_loading_the_library(offline: Terminal) -> None:
    text = offline.types("--help").stdout
    for command in ("up", "serve", "submit", "runs", "status", "logs", "cancel", "retry", "why", "workers", "validate"):
        assert re.search(rf"│ {command} ", text), command
    heavy = ["pydantic", "httpx", "sqlalchemy", "yaml", "asyncio"]
    look = f"import sys, warrener_services.cli.__main__; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
    assert offline.types("--version").stdout.startswith("warrener ")
