"""The small forms of two campaigns, with the real command; `scripts/chaos` has the large ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

import pytest

from fleet.hosts import missing

SCRIPTS = Path(__file__).parents[2] / "scripts"
WHY_NOT = missing()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rabbitmq,
    pytest.mark.postgresql,
    pytest.mark.serf,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]


@pytest.fixture
def open_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Lend a folder that PostgreSQL's own user can reach, which pytest's are not; it stays when the test has failed."""
    failed_before = request.session.testsfailed
    folder = Path(tempfile.mkdtemp(prefix="warrener-chaos-"))
    folder.chmod(0o755)
    yield folder
    if request.session.testsfailed == failed_before:
        shutil.rmtree(folder)


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "campaigns", *words, "--folder", str(folder)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def living(folder: Path) -> list[str]:
    """Return the processes that a campaign in this folder has left."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            about = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in about:
            found.append(entry.name)
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("campaign", ["kills", "mixed"])
def test_a_small_campaign_finds_nothing_lost_doubled_stuck_or_unexpected(campaign: str, open_folder: Path) -> None:
    seed = int(os.environ.get("WARRENER_TEST_SEED") or SystemRandom().randrange(10**6))
    process = start(open_folder / "c", campaign, "--short", "--trials", "8", "--seed", str(seed))
    out, err = process.communicate()
    about = f"WARRENER_TEST_SEED={seed}\n{err}"
    assert out, about
    said = json.loads(out)
    wrong = {kind: said[kind] for kind in ("lost", "doubled", "stuck", "unexpected")}
    assert wrong == dict.fromkeys(wrong, 0), about
    # `late` is not judged here: a machine that tests run on has other work to do.
    assert said["trials"] >= 4, about
    assert living(open_folder) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_campaign_that_is_ended_leaves_no_process_and_no_host(how: signal.Signals, open_folder: Path) -> None:
    process = start(open_folder / "c", "kills", "--short")
    agent = open_folder / "c" / "serf-desk-1"
    while not agent.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)  # until hosts and servers are there
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    process.communicate()
    deadline = time.monotonic() + 20
    while living(open_folder):
        assert time.monotonic() < deadline, living(open_folder)
        time.sleep(0.1)
