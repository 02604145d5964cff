"""The watchdog over a program's broker, and the endpoint that tells of its health."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest
from structlog.testing import capture_logs

from fleet.process import free_port
from fleet.stack import Fleet
from warrener.broker import Delivery, Queue
from warrener.brokers.memory import MemoryBroker, MemorySubscription
from warrener.errors import BrokerUnavailable, InvalidSettings, StoreUnavailable
from warrener.runtime.health import Health, Vitals, health_socket, serve_health
from warrener.runtime.watchdog import Patience, Watchdog
from warrener.settings import Settings

QUICK = Patience(every_s=0.02, lost_after_s=0.1, strikes=3)


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


# ── the watchdog ────────────────────────────────────────────────────────────────────────────────────────────────


class Deaf(MemoryBroker):
    """A broker whose connection looks healthy and delivers nothing, until it is renewed `cured_after` times."""

    def __init__(self, *, cured_after: int | None) -> None:
        super().__init__()
        self.renewed: list[str] = []
        self.troubled = ""
        self._cured_after = cured_after

    async def subscribe(self, queues: Sequence[Queue], *, prefetch: int, lost: object = None) -> MemorySubscription:
        subscription = await super().subscribe(queues, prefetch=prefetch)
        take = subscription.take

        async def deaf(limit: int) -> Sequence[Delivery]:
            await until(lambda: self._cured_after is not None and len(self.renewed) >= self._cured_after, 60)
            return await take(limit)

        subscription.take = deaf  # type: ignore[method-assign]
        return subscription

    def renew(self, why: str) -> None:
        self.renewed.append(why)

    def trouble(self) -> str:
        return self.troubled


async def test_probes_come_back_through_a_healthy_broker() -> None:
    broker = MemoryBroker()
    dog = Watchdog(broker, "me", Random(1), QUICK)
    assert dog.trouble()
    watching = asyncio.create_task(dog.run())
    await until(lambda: not dog.trouble())
    assert (dog.age_s() or 0) < 1
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_deaf_connection_is_made_anew_and_the_program_goes_on_when_that_helps() -> None:
    broker = Deaf(cured_after=2)
    dog = Watchdog(broker, "me", Random(1), QUICK)
    with capture_logs() as logs:
        watching = asyncio.create_task(dog.run())
        await until(lambda: not dog.trouble())
    assert len(broker.renewed) == 2
    assert [line["event"] for line in logs] == ["nothing comes through the broker; connecting anew"] * 2
    assert not watching.done()
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_program_that_stays_deaf_ends() -> None:
    broker = Deaf(cured_after=None)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with asyncio.timeout(10):
            await Watchdog(broker, "me", Random(1), QUICK).run()
    [error] = caught.value.exceptions
    assert isinstance(error, BrokerUnavailable)
    assert "2 new connections did not help" in str(error)
    assert len(broker.renewed) == 2


async def test_nothing_is_judged_while_the_broker_is_known_to_be_away() -> None:
    broker = Deaf(cured_after=None)
    broker.troubled = "away"
    watching = asyncio.create_task(Watchdog(broker, "me", Random(1), QUICK).run())
    await asyncio.wait([watching], timeout=0.5)  # several times as long as its patience
    assert not watching.done()
    assert not broker.renewed
    broker.troubled = ""
    await until(lambda: bool(broker.renewed))
    watching.cancel()
    await asyncio.wait([watching])


# ── the endpoint ────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def told(settings: Settings, **checks: Callable[[], Awaitable[str]]) -> AsyncIterator[httpx.AsyncClient]:
    async with AsyncExitStack() as stack:
        sock = stack.enter_context(health_socket(settings, "me"))
        assert sock is not None
        health = Health("scheduler", "me", checks, optional=frozenset({"gossip"}))
        serving = asyncio.create_task(serve_health(health, sock))
        uds = sock.getsockname() if sock.family == socket.AF_UNIX else None
        base = "http://warrener" if uds else f"http://127.0.0.1:{sock.getsockname()[1]}"
        transport = httpx.AsyncHTTPTransport(uds=uds)
        yield await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=base))
        serving.cancel()
        await asyncio.wait([serving])


async def fine() -> str:
    return ""


async def away() -> str:
    raise StoreUnavailable("the database is away")


async def test_health_is_200_when_all_that_is_needed_is_there(tmp_path: Path) -> None:
    async with told(Settings(state=tmp_path), broker=fine, gossip=away) as client:
        answer = await client.get("/health")
        assert answer.status_code == 200
        vitals = Vitals.model_validate_json(answer.content)
        assert (vitals.program, vitals.name, vitals.well) == ("scheduler", "me", True)
        assert vitals.parts["gossip"].trouble == "the database is away"
        assert not vitals.parts["gossip"].needed
        assert stat.S_IMODE((tmp_path / "health/me.sock").stat().st_mode) == 0o600
    assert not (tmp_path / "health/me.sock").exists()


async def test_health_is_503_with_the_reason_while_live_is_200(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with told(Settings(state=tmp_path, health=url), broker=fine, store=away) as client:
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["parts"]["store"] == {"trouble": "the database is away", "needed": True}
        assert (await client.get("/live")).status_code == 200
        assert (await client.head("/live")).content == b""
        assert (await client.get("/elsewhere")).status_code == 404
        assert (await client.post("/health")).status_code == 405


async def test_what_is_no_request_is_answered_and_hurts_nothing(tmp_path: Path) -> None:
    async with told(Settings(state=tmp_path), broker=fine) as client:
        for said in (b"hello\r\n\r\n", b"GET /health\r\n\r\n", b"x" * 100_000, b""):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "health/me.sock")
            writer.write(said)
            writer.write_eof()
            try:
                answer = await reader.read()
            except ConnectionResetError:
                answer = b""
            assert answer.startswith(b"HTTP/1.1 400 ") or len(said) != 9
            writer.close()
        assert (await client.get("/health")).status_code == 200


def test_two_programs_of_one_name_have_a_socket_each_and_a_stale_one_is_taken_over(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path)
    with health_socket(settings, "me") as first, health_socket(settings, "me") as second:
        assert first is not None
        assert second is not None
        assert first.getsockname() == str(tmp_path / "health/me.sock")
        assert second.getsockname() != first.getsockname()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "health/me.sock"))
    with health_socket(settings, "me") as third:
        assert third is not None
        assert third.getsockname() == str(tmp_path / "health/me.sock")


def test_a_usual_socket_that_cannot_be_is_no_reason_to_stay_away_but_a_wished_one_is(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with health_socket(Settings(state=folder), "me") as sock:
        assert sock is None
    for wished in (f"unix:{folder}/me.sock", "https://127.0.0.1:1", "anywhere"):
        with (
            pytest.raises(InvalidSettings, match="WARRENER_HEALTH"),
            health_socket(Settings(state=tmp_path, health=wished), "me"),
        ):
            pass
    with health_socket(Settings(state=tmp_path, health="off"), "me") as sock:
        assert sock is None


# ── a whole fleet ───────────────────────────────────────────────────────────────────────────────────────────────

APP = """
from warrener import Worker
worker = Worker("images")
worker.run()
"""


def ask(fleet: Fleet, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "warrener_services.cli", "health", *words]
    return subprocess.run(command, env={**fleet.settings, "PATH": ""}, capture_output=True, text=True, check=False)


@pytest.mark.rabbitmq
@pytest.mark.slow
def test_every_program_of_a_fleet_tells_of_its_health(tmp_path: Path) -> None:
    with Fleet(tmp_path, database="sqlite") as fleet:
        fleet.start()
        (tmp_path / "images.py").write_text(APP)
        fleet.run("images", [sys.executable, str(tmp_path / "images.py")])

        def all_well() -> bool:
            done = ask(fleet, "--json")
            return done.returncode == 0 and len(json.loads(done.stdout)) == 7

        fleet.wait_until("scheduler", all_well)
        shown = ask(fleet).stdout
        for name in ("scheduler", "gateway-", "gossip-", "env-setup", "data-staging", "job-submission", "images"):
            assert any(line.startswith(name) and " well " in line for line in shown.splitlines()), shown
        scheduler = f"unix:{fleet.state}/health/scheduler.sock"
        assert ask(fleet, scheduler).returncode == 0

        fleet.rabbitmq.kill()
        fleet.wait_until("scheduler", lambda: ask(fleet, scheduler).returncode == 1)
        done = ask(fleet, scheduler)
        assert "unwell" in done.stdout
        assert "no connection to the broker" in done.stdout
        assert ask(fleet, scheduler, "--live").returncode == 0
        fleet.kill("scheduler")
        assert "nobody listens there" in ask(fleet, scheduler).stdout
