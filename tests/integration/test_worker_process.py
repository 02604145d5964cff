"""A user's worker as its own process on RabbitMQ: signals, crash points, redelivery, broker outage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.rabbitmq import RabbitMQNode
from owner import Owner
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.messages import Kind, Outcome
from warrener.signing import make_keys, read_keys

pytestmark = pytest.mark.rabbitmq

PROGRAM = """
import asyncio
from warrener.worker import Worker

worker = Worker("app")

@worker.function
def double(x): return 2 * x

@worker.function
async def nap(s):
    await asyncio.sleep(s)
    return "rested"

worker.run()
"""


@contextlib.asynccontextmanager
async def an_owner(url: str, folder: Path) -> AsyncIterator[Owner]:
    make_keys(folder / "keys")
    keys = read_keys(folder / "keys")
    broker = RabbitMQ.connect(url, name="owner")
    owner = Owner(broker)  # type: ignore[arg-type] - any broker but for `queue`
    owner.signer, owner.key = keys.signer, keys.claims
    try:
        await owner.listen()
        try:
            yield owner
        finally:
            await owner.close()
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def a_worker(url: str, folder: Path, owner: Owner, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    told = {"BROKER": url, "STATE": str(folder), "WORKER": "w1", "SLOTS": "4", "STOP_TIMEOUT": "10s"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, **{f"WARRENER_{name}": value for name, value in told.items()}, **env},
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            await owner.heartbeat(lambda beat: beat.state == "up" and beat.boot != owner.previous)
            owner.previous = owner.boot
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def order(owner: Owner, n: int, function: str, *args: object, once: bool = False) -> None:
    made = owner.make(
        n, kind=Kind.CALL, app="" if once else "app", body={"function": f"app.{function}", "args": list(args)}
    )
    await owner.order(made, lane="call.app", claim=once, issued_at=datetime.now(UTC))


async def test_calls_run_and_sigterm_stops_after_what_runs(amqp_url: str, tmp_path: Path) -> None:
    async with an_owner(amqp_url, tmp_path) as owner, a_worker(amqp_url, tmp_path, owner) as process:
        await order(owner, 0, "double", 21)
        assert (await owner.report()).output == 42
        await order(owner, 1, "nap", 2.0)
        await owner.grant(await owner.claims())  # after a second
        process.send_signal(signal.SIGTERM)
        report = await owner.report()
        assert (report.output, report.token) == ("rested", owner.token(report))
        await owner.heartbeat(lambda beat: beat.state == "leaving")
        assert await process.wait() == 0


@pytest.mark.parametrize("point", ["worker.direct-performed", "worker.direct-reported"])
async def test_a_direct_call_of_a_dead_worker_comes_back_and_is_claimed(
    amqp_url: str, tmp_path: Path, point: str
) -> None:
    async with an_owner(amqp_url, tmp_path) as owner:
        async with a_worker(amqp_url, tmp_path, owner, WARRENER_CRASH_AT=point) as process:
            await order(owner, 0, "double", 4)
            assert await process.wait() == 137
        async with a_worker(amqp_url, tmp_path, owner):
            claims = await owner.claims()
            assert claims.claims[0].token is not None
            await owner.grant(claims)
            while (report := await owner.report()).token != owner.token(report):
                assert point == "worker.direct-reported"
            assert report.output == 8


@pytest.mark.parametrize("point", ["worker.spooled", "worker.reported", "worker.receipt"])
async def test_a_claimed_attempt_of_a_dead_worker_is_reported_by_the_next_life(
    amqp_url: str, tmp_path: Path, point: str
) -> None:
    async with an_owner(amqp_url, tmp_path) as owner:
        async with a_worker(amqp_url, tmp_path, owner, WARRENER_CRASH_AT=point) as process:
            await order(owner, 0, "double", 4, once=True)
            await owner.grant(await owner.claims())
            old = owner.boot
            if point == "worker.receipt":
                await owner.receive(await owner.report())
            assert await process.wait() == 137
        async with a_worker(amqp_url, tmp_path, owner):
            while (reports := await owner.reports()).boot != old:
                pass
            assert reports.reports[0].outcome is Outcome.SUCCEEDED
            await owner.receive(reports.reports[0], boot=old)
            spool = tmp_path / "site" / "spool" / "w1"
            async with asyncio.timeout(20):
                while list(spool.glob("*.json")):
                    await owner.call_roll()
                    await owner.heartbeat()


@pytest.mark.slow
async def test_a_result_survives_an_outage_of_the_broker(rabbitmq: RabbitMQNode, amqp_url: str, tmp_path: Path) -> None:
    async with an_owner(amqp_url, tmp_path) as owner, a_worker(amqp_url, tmp_path, owner) as process:
        await order(owner, 0, "nap", 1.0, once=True)
        await owner.grant(await owner.claims())
        await owner.heartbeat(lambda beat: bool(beat.attempts))
        rabbitmq.kill()
        rabbitmq.start()
        assert (await owner.report()).output == "rested"
        assert process.returncode is None
