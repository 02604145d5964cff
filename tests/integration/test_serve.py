"""A program under real signals, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from warrener.errors import InvalidSettings
from warrener.runtime import crash

PROGRAM = """
import asyncio, sys
from datetime import timedelta
from warrener.errors import InvalidSettings, BrokerUnavailable
from warrener.runtime.crash import crash_point
from warrener.runtime.serve import serve
import structlog

async def main():
    print("up", flush=True)
    {body}

sys.exit(serve(main, name="program", stop_timeout=timedelta(seconds={seconds})))
"""


def start(body: str, seconds: float = 20, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body, seconds=seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env},
    )  # fmt: skip


def ended(program: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = program.communicate(timeout=30)
    return program.returncode, errors


def started(body: str, seconds: float = 20) -> subprocess.Popen[str]:
    program = start(body, seconds)
    assert program.stdout is not None
    assert program.stdout.readline() == "up\n"
    return program


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_as_planned(number: signal.Signals) -> None:
    program = started("await asyncio.Event().wait()")
    program.send_signal(number)
    assert ended(program)[0] == 0


STUBBORN = """
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("no", flush=True)
"""


def test_the_second_signal_ends_it_at_once() -> None:
    program = started(STUBBORN.strip())
    program.send_signal(signal.SIGTERM)
    assert program.stdout is not None
    assert program.stdout.readline() == "no\n"
    program.send_signal(signal.SIGTERM)
    code, errors = ended(program)
    assert code == 1
    assert "a second signal came" in errors


def test_a_stop_that_takes_too_long_ends_it() -> None:
    program = started(STUBBORN.strip(), seconds=0.2)
    program.send_signal(signal.SIGTERM)
    code, errors = ended(program)
    assert code == 1
    assert "did not stop in time" in errors


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('raise InvalidSettings("WARRENER_KEYS: no such folder")', 2),
        ('raise BrokerUnavailable("WARRENER_KEYS: no such folder")', 1),
    ],
)
def test_a_deliberate_error_is_one_line(body: str, code: int) -> None:
    assert ended(start(body)) == (code, "program: WARRENER_KEYS: no such folder\n")


def test_a_bug_is_logged_with_its_traceback_as_one_line_of_json_without_passwords() -> None:
    code, errors = ended(start('raise ZeroDivisionError("amqp://me:secret@host/")'))
    assert code == 1
    [line] = errors.splitlines()
    record = json.loads(line)
    assert record["event"] == "the program failed"
    assert "ZeroDivisionError" in record["exception"]
    assert "secret" not in line


def test_an_armed_crash_point_kills_at_the_pass_asked_for() -> None:
    body = 'for n in range(3): print(n, flush=True); crash_point("worker.spooled")'
    program = start(body, WARRENER_CRASH_AT="worker.spooled:2")
    output, _ = program.communicate(timeout=30)
    assert (program.returncode, output) == (137, "up\n0\n1\n")
    code, errors = ended(start("pass", WARRENER_CRASH_AT="worker.spoiled"))
    assert code == 2
    assert "no crash point 'worker.spoiled'" in errors


def test_every_crash_point_of_the_worker_is_in_its_code() -> None:
    source = "".join(path.read_text() for path in Path(crash.__file__).parents[1].glob("worker/*.py"))
    for name in crash.CRASH_POINTS:
        if name.startswith("worker."):
            assert f'crash_point("{name}")' in source
    with pytest.raises(InvalidSettings):
        crash.arm("worker.spooled:x")
