"""A fleet whose parts come in the wrong order, and whose broker carries what no program wrote."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import aio_pika
import pytest
from pamqp import encode

from fleet.stack import Fleet

PROGRAMS = ("scheduler", "job_submission", "gateway")
WORKFLOW = "workflow: w\ntasks: {a: {job: {argv: ['true']}}}\n"
NO_UTF8 = "no utf-8"

pytestmark = [pytest.mark.rabbitmq, pytest.mark.postgresql]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Programs that were started before their broker and their database."""
    # Not below pytest's own folder, which only this user may enter: PostgreSQL does not run as root.
    with tempfile.TemporaryDirectory(prefix="warrener-fleet-") as folder:
        Path(folder).chmod(0o755)
        yield from _late_servers(Path(folder))


def _late_servers(folder: Path) -> Iterator[Fleet]:
    with Fleet(folder) as fleet:
        assert fleet.postgresql is not None
        fleet.rabbitmq.stop()
        fleet.postgresql.stop()
        fleet.start(*PROGRAMS)
        for name in PROGRAMS:
            fleet.wait_until(name, lambda name=name: "broker is away" in fleet.log_of(name))
        fleet.wait_until("scheduler", lambda: "waiting for the store" in fleet.log_of("scheduler"))
        fleet.postgresql.start()
        fleet.rabbitmq.start()
        for name in PROGRAMS:
            fleet.wait_until(name, lambda name=name: fleet.log_of(name).count("broker is back") == 2)
        yield fleet


def types(fleet: Fleet, *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("warrener")), *words],
        env=os.environ | fleet.settings, input=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_programs_started_before_their_servers_work_when_these_come(fleet: Fleet) -> None:
    assert "succeeded" in types(fleet, "submit", "-", "--watch", stdin=WORKFLOW)
    for name in PROGRAMS:
        log = fleet.log_of(name)
        assert log.count('"broker is away, retrying"') <= 4, log  # once for each outage and connection
        assert "rabbits" not in log
        assert "burrows" not in log


async def test_messages_that_make_no_sense_are_parked_and_hurt_nobody(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encode.METHODS, "shortstr", _wrongly(encode.METHODS["shortstr"]))
    async with await aio_pika.connect(fleet.rabbitmq.url) as connection:
        channel = await connection.channel()
        reports = await channel.get_exchange("warrener.reports", ensure=False)
        orders = await channel.get_exchange("warrener.orders", ensure=False)
        for kind, body in (("submit/1", b"{"), ("submit/2", b"{}"), ("n\0ul/1", b"{}"), (NO_UTF8, b"{}"), ("", b"")):
            await reports.publish(aio_pika.Message(body, type=kind, headers={"x": "\0"}), "submissions")
        await reports.publish(aio_pika.Message(b" " * 1_100_000, type="submit/1"), "submissions")
        await orders.publish(aio_pika.Message(b"{}", type="orders/1", headers={"signature": "00"}), "job")
    fleet.wait_until("scheduler", lambda: len(types(fleet, "parked", "list", "--json").splitlines()) >= 7)
    listed = types(fleet, "parked", "list")
    for reason in ("malformed", "this program reads submit/1", "n�ul/1", "���", "(none)", "at most", "signed"):
        assert reason in listed
    assert "succeeded" in types(fleet, "submit", "-", "--watch", stdin=WORKFLOW)
    assert fleet.running("scheduler")


def _wrongly(right: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Write one word as no library would."""
    return lambda word: b"\x03\xff\xfe\xfd" if word == NO_UTF8 else right(word)
