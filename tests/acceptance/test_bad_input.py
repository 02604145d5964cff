"""Wrong input, as strangers give it: each mistake is named, with its place and a way out, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

WITHIN_S = 40
APP = """\
import warrener

worker = warrener.Worker("numbers")


@worker.function
def double(x: int) -> int:
    return 2 * x
"""


@dataclass(frozen=True)
class Terminal:
    """A folder, and the environment of a `warrener up` beside it."""

    folder: Path
    environment: dict[str, str]

    @property
    def command(self) -> str:
        return str(Path(sys.executable).with_name("warrener"))

    def types(self, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *words],
            cwd=self.folder, env=self.environment | given, capture_output=True, text=True, timeout=WITHIN_S,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def starts(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.command, *words],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def writes(self, name: str, text: str | bytes) -> str:
        (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    def refused(self, *words: str, code: int = 2, **given: str) -> str:
        """Type what must be refused, in words and without a traceback; return the words."""
        done = self.types(*words, **given)
        told = done.stdout + done.stderr
        assert done.returncode == code, told
        assert "Traceback" not in told
        return told

    def runs_to_its_end(self, tasks: str) -> str:
        """Submit tasks, watch them, and return how their run stands then."""
        done = self.types("submit", self.writes("now.yaml", f"workflow: now\ntasks:\n{tasks}"), "--watch")
        assert done.returncode in (0, 1), done.stderr
        run = next(line.split()[0] for line in done.stdout.splitlines())
        return self.types("status", run).stdout


def _terminal(folder: Path) -> Terminal:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WARRENER_", "COVERAGE_"))}
    (folder / "my_numbers.py").write_text(APP)
    return Terminal(folder, clean | {"WARRENER_STATE": str(folder / "state")})


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="warrener-") as folder:
        terminal = _terminal(Path(folder))
        up = terminal.starts("up", "--app", "my_numbers", "--slots", "4")
        try:
            assert up.stdout is not None
            while "Ctrl-C stops it" not in (line := up.stdout.readline()):
                assert line, "`up` ended"
            yield terminal
        finally:
            up.send_signal(signal.SIGINT)
            try:
                rest, _ = up.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                up.kill()
                raise
        assert up.returncode == 0, rest


@pytest.fixture
def offline(tmp_path: Path) -> Terminal:
    return _terminal(tmp_path)


# ── workflows ───────────────────────────────────────────────────────────────────────────────────────────────────

WRONG_FILES = {
    "unknown-field": ("tasks:\n  a:\n    jobb: {argv: [x]}\n", "unknown-field.yaml:4: tasks.a.jobb", "mean 'job'"),
    "cycle": ("tasks:\n  a: {needs: [b], job: {argv: [x]}}\n  b: {needs: [a], job: {argv: [x]}}\n", "a → b → a"),
    "missing": ("tasks:\n  plot: {needs: [plott], job: {argv: [x]}}\n", "missing.yaml:3", "there is no task 'plott'"),
    "types": ("tasks:\n  a: {priority: high, job: {argv: x}}\n", "a whole number, got the text", "write [x]"),
    "twice": ("tasks:\n  a: {job: {argv: [x]}}\n  a: {job: {argv: [y]}}\n", "twice.yaml:4", "first on line 3"),
    "template": ("tasks:\n  a: {job: {argv: ['{{ parms.x }}']}}\n", "template.yaml:3", "unknown name 'parms'"),
    "later": ("schedule: daily\ntasks:\n  a: {when: x, job: {argv: [x], target: slurm}}\n", "later.yaml:2: schedule",
              "tasks.a.when", "tasks.a.job.target", "not built yet"),
    "no-yaml": ("a: [1,\nb: {", "no-yaml.yaml:"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_workflow_is_refused_with_file_and_line(offline: Terminal, name: str) -> None:
    text, *expected = WRONG_FILES[name]
    told = offline.refused("validate", offline.writes(f"{name}.yaml", f"workflow: wrong\n{text}"))
    for words in expected:
        assert words in told


def test_what_is_no_workflow_file_is_said_so(offline: Terminal) -> None:
    assert "is empty" in offline.refused("submit", offline.writes("empty.yaml", ""))
    assert "UTF-8" in offline.refused("submit", offline.writes("binary.yaml", b"workflow: \xff\xfe"))
    assert "is a folder" in offline.refused("submit", ".")
    assert "No such file" in offline.refused("submit", "nowhere.yaml")


def test_wrong_parameters_are_named(terminal: Terminal) -> None:
    text = "workflow: p\nparams: {n: {type: integer}}\ntasks: {a: {job: {argv: [echo, '{{ params.n }}']}}}\n"
    file = terminal.writes("p.yaml", text)
    assert "params.n: this parameter is required" in terminal.refused("submit", file)
    assert "expected a whole number" in terminal.refused("submit", file, "-p", "n=many")
    assert "no such parameter; did you mean 'n'" in terminal.refused("submit", file, "-p", "n=1", "-p", "nn=1")
    assert "n was given before" in terminal.refused("submit", file, "-p", "n=1", "-p", "n=2")
    assert "no YAML value" in terminal.refused("submit", file, "-p", "n=[1,")


def test_runs_and_attempts_that_are_not_there_are_said_so(terminal: Terminal) -> None:
    assert "there is no run" in terminal.refused("status", "zzzzzzzzzzzzzzzz")
    assert "too short" in terminal.refused("cancel", "z")
    run = terminal.types("submit", terminal.writes("ok.yaml", "workflow: ok\ntasks: {a: {job: {argv: ['true']}}}\n"))
    assert run.returncode == 0, run.stderr
    name = run.stdout.strip()
    assert "has no task 'b'" in terminal.refused("status", f"{name}/b")
    assert "has no attempt 7" in terminal.refused("logs", name, "a", "--attempt", "7")


# ── jobs, staging, environments, calls ──────────────────────────────────────────────────────────────────────────


def test_jobs_fail_with_a_reason_and_hurt_no_other(terminal: Terminal) -> None:
    told = terminal.runs_to_its_end(r"""
  nocommand: {job: {argv: [no-such-command]}}
  exits: {job: {shell: "for i in $(seq 40); do echo line $i >&2; done; exit 7"}}
  ugly: {job: {shell: "printf '\\377\\033[31mred\\033[0m' >&2; exit 1"}}
  floods: {timeout: 1s, job: {argv: ['yes']}}
  stubborn: {timeout: 1s, job: {shell: "trap '' TERM; while :; do sleep 0.1; done"}}
  forks: {job: {shell: "setsid sleep 3333 & exit 0"}}
  reads: {job: {argv: [cat]}}
  badoutput: {job: {shell: "echo '{' > $WARRENER_OUTPUT"}}
  largeoutput: {job: {shell: "head -c 200000 /dev/zero > $WARRENER_OUTPUT"}}
  output: {job: {shell: "echo '{\"x\": 1}' > $WARRENER_OUTPUT"}}
  uses: {job: {argv: [echo, "{{ tasks.output.output.y }}"]}}
""")
    assert "no-such-command cannot be started: there is no such file" in told
    assert "exit code 7 · … line" in told
    assert "line 40" in told
    assert "�red" in told
    assert "\x1b" not in told
    assert told.count("it ran longer than its timeout of 1 s and was ended") == 2
    assert "(WARRENER_OUTPUT) is not JSON" in told
    assert "is larger than 65536 bytes" in told
    assert "tasks.output.output has no 'y'; it has x" in told
    for fine in ("forks", "reads", "output"):
        assert any(line.startswith(fine) and "succeeded" in line for line in told.splitlines()), told
    assert not _is_running(["sleep", "3333"])


def _is_running(command: list[str]) -> bool:
    wanted = b"".join(word.encode() + b"\0" for word in command)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes() == wanted:
                return True
    return False


def test_staging_and_environments_fail_with_a_reason(terminal: Terminal) -> None:
    terminal.writes("there.txt", "there")
    told = terminal.runs_to_its_end(f"""
  missing: {{stage: [{{from: "file:nowhere.txt", to: a}}]}}
  folder: {{stage: [{{from: "file:state", to: b}}]}}
  corrupt: {{stage: [{{from: "file:there.txt", to: c, sha256: {"ab" * 32}}}]}}
  outside: {{stage: [{{from: "file:/etc/hostname", to: d}}]}}
  private: {{stage: [{{from: "http://169.254.169.254/latest", to: e}}]}}
  nopython: {{env: {{requirements: [], python: "3.42"}}}}
  badlock: {{env: {{lock: "numpy==1.0 --hash=sha256:000"}}}}
  arguments: {{call: {{function: numbers.double, args: {{y: 1}}}}}}
  function: {{call: {{function: numbers.triple, args: {{x: 1}}}}}}
""")
    for words in ("missing", "folder", "corrupt", "outside", "private", "nopython", "badlock", "arguments", "function"):
        assert any(line.startswith(words) and "failed" in line for line in told.splitlines()), told
    assert "there is no Python 3.42" in told
    assert "lies outside the folders open to staging" in told


# ── programs and their settings ─────────────────────────────────────────────────────────────────────────────────


def test_a_second_up_in_one_folder_is_refused(terminal: Terminal) -> None:
    assert "another `warrener up`" in terminal.refused("up")


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("nothing", "x = 1\n", "has no worker"),
        ("needs", "import nowhere_at_all\n", "needs nowhere_at_all, which is not installed"),
        ("syntax", "\ndef f(:\n", "(syntax.py:2)"),
        ("zero", "1 / 0\n", "ZeroDivisionError: division by zero (zero.py:1)"),
        ("leaves", "import sys\nsys.exit(3)\n", "SystemExit: 3 (leaves.py:2)"),
    ],
)
def test_an_app_that_cannot_serve_says_why(offline: Terminal, module: str, text: str, expected: str) -> None:
    offline.writes(f"{module}.py", text)
    assert expected in offline.refused("up", "--app", module)


def test_wrong_settings_are_named(offline: Terminal) -> None:
    assert "did you mean WARRENER_SLOTS" in offline.refused("up", WARRENER_SLOT="3")
    assert "WARRENER_SLOTS" in offline.refused("up", WARRENER_SLOTS="many")
    assert "is no address to listen on" in offline.refused("up", WARRENER_LISTEN="ftp://x")
    assert "needs a token" in offline.refused("up", WARRENER_LISTEN="http://127.0.0.1:1")
    assert "warrener keys" in offline.refused(
        "serve", "scheduler", WARRENER_BROKER="amqp://127.0.0.1:1/", WARRENER_KEYS="none"
    )
    assert "WARRENER_BROKER is no URL" in offline.refused("serve", "env_setup", WARRENER_BROKER="amqp://a:b@h:99999/")
    assert "WARRENER_BROKER is not set" in offline.refused("serve", "scheduler")


def test_a_taken_port_is_said_so(offline: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        told = offline.refused("up", WARRENER_LISTEN=url, WARRENER_TOKEN="t" * 64)
    assert "another program listens there" in told


def test_a_gateway_that_is_not_there_is_said_so(offline: Terminal) -> None:
    assert "is `warrener up` running?" in offline.refused("runs", code=1)
