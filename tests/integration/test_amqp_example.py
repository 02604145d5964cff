"""The client of docs/amqp.md, which uses nothing of Warrener, against the real programs and a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.stack import Fleet

EXAMPLE = Path(__file__).parents[2] / "examples/submit_by_amqp.py"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with (
        tempfile.TemporaryDirectory(prefix="warrener-amqp-") as folder,
        Fleet(Path(folder), database="sqlite") as fleet,
    ):
        fleet.start("scheduler", "job_submission")
        fleet.wait_until("job_submission", lambda: '"scheduling"' in fleet.log_of("scheduler"))
        yield fleet


@pytest.mark.rabbitmq
def test_a_client_without_warrener_submits_a_run_and_hears_of_its_end(fleet: Fleet) -> None:
    own = {"WARRENER_KEYS": str(fleet.state / "keys"), "WARRENER_BROKER": fleet.rabbitmq.url}
    told = subprocess.run(
        [sys.executable, EXAMPLE], env={**os.environ, **own}, capture_output=True, text=True, timeout=90, check=False
    )

    assert told.returncode == 0, told.stderr
    answer, *states = told.stdout.splitlines()
    assert "'run': " in answer
    assert states[-1] == "succeeded"
