"""The runner as a program: what it imports, how quickly it starts, how small it stays."""

from __future__ import annotations

import ast
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warrener.targets import runner
from warrener.targets.attempt_folder import program

SOURCE = Path(runner.__file__)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return describe(tmp_path / "attempt", ["sleep", "0.3"])


def describe(folder: Path, argv: list[str]) -> Path:
    folder.mkdir()
    records = [*(f"argv={word}" for word in argv), "env=PATH=/usr/bin:/bin", "cwd=/", "keep_bytes=1000", "grace_s=1"]
    (folder / "spec").write_bytes(b"".join(record.encode() + b"\0" for record in records))
    (folder / "lease").write_text("inf boot\n")
    return folder


def launch(folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-I", "-S", program(), str(folder)]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env={}
    )


def test_it_imports_the_standard_library_only_and_nothing_slow():
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported - {"__future__", "signal"} == {"_signal", "ctypes", "os", "resource", "select", "sys", "time"}
    assert imported <= sys.stdlib_module_names


def test_it_holds_the_attempt_within_a_moment(folder):
    began = time.monotonic()
    process = launch(folder)
    assert process.stdout.read(1) == b"1"
    assert time.monotonic() - began < 0.5  # about 0.01 on a quiet machine
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 0


def test_it_stays_small(tmp_path):
    folder = describe(tmp_path / "attempt", ["sh", "-c", "head -c 50000000 /dev/zero; sleep 30"])
    process = launch(folder)
    try:
        assert process.stdout.read(1) == b"1"
        select_until((folder / "stdout.ring").exists)
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = int(status.partition("VmHWM:")[2].split()[0])
        assert resident < 12 * 1024
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_a_second_runner_leaves_at_once(folder):
    first = launch(folder)
    assert first.stdout.read(1) == b"1"
    second = launch(folder)
    assert second.communicate(timeout=20) == (b"", b"")
    assert first.poll() is None
    first.communicate(timeout=20)


def test_it_does_nothing_while_the_command_does_nothing(tmp_path):
    process = launch(describe(tmp_path / "attempt", ["sleep", "1"]))
    assert process.stdout.read(1) == b"1"
    process.stdout.close()
    process.stderr.close()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    assert used.ru_nvcsw < 60  # it waits; polling would switch hundreds of times


def test_what_it_reads_wrongly_is_told_in_the_end(folder):
    (folder / "lease").write_text("")
    process = launch(folder)
    assert b"IndexError" in process.communicate(timeout=20)[1]
    assert process.returncode == 1


@pytest.mark.parametrize(
    "text", ["plain", 'a "quoted" \\ word', "tab\tand\nnewline", "ünïcode €", "beyond \U0001f407", ""]
)
def test_its_own_json_is_json(text):
    import json

    assert json.loads(runner._json(text)) == (text or None)


def select_until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        select.select([], [], [], 0.01)
