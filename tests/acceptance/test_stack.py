"""The stack in containers comes up by itself, and accounts for every run while containers are killed and cut off.

Skipped, with the reason, where no Docker engine answers or the images are not there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

import pytest

from fleet.process import FleetError, Process
from stacks.engine import Engine, StackError

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("STACK_DOCKER_DATA", "/var/lib/docker"))
SEED = os.environ.get("WARRENER_TEST_SEED") or str(SystemRandom().randrange(10**6))
IMAGES = ("rabbitmq:4-management", "postgres:17", os.environ.get("STACK_BASE", "python:3.11-slim-bookworm"))


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, docker_host: str | None) -> Iterator[Engine]:
    """Lend a stack of its own name and port; nothing of it is left."""
    if docker_host is not None:
        monkeypatch.setenv("DOCKER_HOST", docker_host)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"warrener-test-{SystemRandom().randrange(10**6)}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STACK_PORT", str(probe.getsockname()[1]))
    monkeypatch.setenv("STACK_HONOUR_LOAD", "false")  # whatever else this machine does
    for name in [name for name in os.environ if name.startswith("WARRENER_")]:
        monkeypatch.delenv(name)
    engine = _engine()
    try:
        yield engine
    finally:
        _stack("down", "--volumes")


@pytest.fixture
def docker_host() -> Iterator[str | None]:
    """Start a daemon on the images that are on this machine, if none answers and this is root; else lend None."""
    answers = shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False)
    if not answers or answers.returncode == 0 or os.geteuid() != 0 or not shutil.which("dockerd") or not _has_images():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="warrener-docker-") as name:
        folder = Path(name)
        command = [
            "dockerd", "--data-root", str(DATA), "--exec-root", str(folder / "exec"), "-H", f"unix://{folder}/sock",
            "--pidfile", str(folder / "pid"),
        ]  # fmt: skip
        daemon = Process.start("dockerd", command, log=folder / "log")
        try:
            try:
                daemon.wait_until((folder / "sock").exists, timeout_s=60)
            except FleetError as error:
                pytest.skip(f"the Docker engine does not start here: {error}")
            yield f"unix://{folder}/sock"
        finally:
            daemon.stop(grace_s=30)


def _has_images() -> bool:
    lists = DATA.glob("image/*/repositories.json")
    return any(all(f'"{image}"' in path.read_text() for image in IMAGES) for path in lists)


def _engine() -> Engine:
    """Return the engine that answers; skip when there is none, or when it would have to ask a registry."""
    if shutil.which("docker") is None:
        pytest.skip("there is no program docker; on Debian: apt-get install docker.io docker-compose")
    try:
        engine = Engine.found()
        for image in IMAGES:
            engine.docker("image", "inspect", image)
    except StackError as error:
        pytest.skip(f"no stack can be started here: {error}")
    return engine


def _stack(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/stack", *words], capture_output=True, text=True, check=False, timeout=400, cwd=ROOT
    )


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_the_stack_comes_up_and_loses_and_doubles_nothing_under_faults(stack: Engine) -> None:
    up = _stack("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "The stack is up" in up.stdout

    token = (ROOT / ".warrener/stack/token").read_text().strip()
    gateway = f"http://127.0.0.1:{os.environ['STACK_PORT']}"
    asked = subprocess.run(
        [sys.executable, "-m", "warrener_services.cli", "alerts", "test"],
        env={**os.environ, "WARRENER_GATEWAY": gateway, "WARRENER_TOKEN": token},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "Subject: [warrener] Test" in _stack("mail").stdout

    trial = _stack("test", "--short", "--no-build", "--seed", SEED)
    print(trial.stdout)  # noqa: T201 - worth having in the report
    assert trial.returncode == 0, f"--seed {SEED}\n{trial.stdout}{trial.stderr}"
    assert "every run is accounted for" in trial.stdout

    told = _stack("ps")
    assert told.returncode == 0, told.stdout
    assert {line.split()[0] for line in told.stdout.splitlines()} == set(stack.services())
    for name, container in stack.containers().items():
        user = stack.docker("exec", container.id, "id", "-u").strip()
        if name not in ("broker", "database"):
            assert user == "10001", name
