"""`warrener doctor` before real servers: well, away, wrong, in trouble."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from fleet.postgresql import PostgreSQLServer
from fleet.rabbitmq import RabbitMQNode
from fleet.serf import SerfAgent
from warrener.broker import Message
from warrener.brokers.rabbitmq import RabbitMQ
from warrener.errors import Refused
from warrener.settings import Settings
from warrener.stores import examined, migrations, open_store
from warrener.topology import PARKED_QUEUE
from warrener_services.cli.doctor import broker

pytestmark = [pytest.mark.rabbitmq, pytest.mark.postgresql, pytest.mark.serf]

Doctor = Callable[..., tuple[int, dict[str, list[dict[str, str]]]]]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Return what calls the doctor: it gives the exit code, and the findings by what they are about."""

    def call(**settings: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        env = os.environ | {"WARRENER_STATE": str(tmp_path)}
        env |= {f"WARRENER_{name.upper()}": value for name, value in settings.items()}
        program = str(Path(sys.executable).with_name("warrener"))
        done = subprocess.run(
            [program, "doctor", "--json"], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert not done.stderr
        found: dict[str, list[dict[str, str]]] = {}
        for line in done.stdout.splitlines():
            found.setdefault((one := json.loads(line))["about"], []).append(one)
        return done.returncode, found

    return call


def says(found: dict[str, list[dict[str, str]]], about: str, health: str) -> str:
    return " | ".join(one["says"] for one in found.get(about, ()) if one["health"] == health)


def test_a_deployment_that_is_well_has_no_fault(
    doctor: Doctor, amqp_url: str, postgresql_url: str, serf_agent: SerfAgent
) -> None:
    asyncio.run(_declare(amqp_url))
    asyncio.run(_migrate(postgresql_url))
    gossip = f"serf://{serf_agent.rpc_auth}@127.0.0.1:{serf_agent.rpc_port}"
    code, found = doctor(broker=amqp_url, store=postgresql_url, gossip=gossip)
    assert code == 0
    assert "a message went round" in says(found, "broker", "well")
    assert "the newest" in says(found, "store", "well")
    assert "agree within" in says(found, "clocks", "well")
    assert "warren-1 sees 1 of 1" in says(found, "gossip", "well")
    assert "nobody is at" not in says(found, "broker queues", "warning")  # they are not declared yet


def test_empty_servers_are_no_fault_and_stay_empty(doctor: Doctor, amqp_url: str, postgresql_url: str) -> None:
    for _ in range(2):
        code, found = doctor(broker=amqp_url, store=postgresql_url)
        assert code == 0
        assert "empty" in says(found, "broker", "well")
        assert "empty" in says(found, "store", "well")


def test_wrong_addresses_and_passwords_are_told_without_showing_them(
    doctor: Doctor, rabbitmq: RabbitMQNode, postgresql: PostgreSQLServer, serf_agent: SerfAgent
) -> None:
    code, found = doctor(
        broker=f"amqp://rabbits:sesame@127.0.0.1:{rabbitmq.port}/",
        store=f"postgresql://nobody:sesame@127.0.0.1:{postgresql.port}/warrener",
        gossip=f"serf://sesame@127.0.0.1:{serf_agent.rpc_port}",
        gateway="http://127.0.0.1:1",
        token="sesame",
    )
    assert code == 1
    assert "refused the user or the password" in says(found, "broker", "fault")
    assert "password authentication failed" in says(found, "store", "fault")
    assert "refused the key" in says(found, "gossip", "fault")
    assert "127.0.0.1:1" in says(found, "gateway", "fault")
    assert "sesame" not in json.dumps(found)


@pytest.mark.parametrize(
    ("user", "may"),
    [
        ("scheduler", "well"), ("gateway", "well"), ("gossip", "well"), ("elastic", "well"), ("worker J", "well"),
        ("client", "warning"),
    ],
)  # fmt: skip
async def test_no_user_with_the_documented_permissions_is_at_fault(
    user: str, may: str, rabbitmq: RabbitMQNode, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _declare(amqp_url)
    configure, write, read = documented(user, worker="job-hare")
    url = await asyncio.to_thread(
        rabbitmq.add_user, amqp_url, f"doctor-{user[:6]}", configure=configure, write=write, read=read
    )
    found = await broker.look(Settings(broker=url, host="hare"))
    about = [finding for finding in found if finding.about == "broker"]
    assert [finding.health for finding in about] == [may], about
    assert ("went round" in about[0].says) == (may == "well")


def documented(user: str, *, worker: str) -> list[str]:
    """Return what a user may configure, write and read, by docs/operating.md."""
    text = (Path(__file__).parents[2] / "docs/operating.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| {user} | `^"))
    cells = re.split(r"(?<!\\)\|", row)[2:5]
    return [cell.strip(" `").replace("\\|", "|").replace("J", worker) for cell in cells]


def test_each_node_of_a_cluster_is_looked_at(doctor: Doctor, rabbitmq: RabbitMQNode, amqp_url: str) -> None:
    several = amqp_url.replace("@", "@127.0.0.1:1,")
    code, found = doctor(broker=several)
    assert code == 0
    assert "127.0.0.1:1: connection refused" in says(found, "broker", "warning")
    assert f"at 127.0.0.1:{rabbitmq.port}" in says(found, "broker", "well")
    code, found = doctor(broker="amqp://hare@127.0.0.1:1,127.0.0.1:2/")
    assert (code, len(found["broker"])) == (1, 2)


def test_parked_messages_and_lonely_queues_are_shown(doctor: Doctor, amqp_url: str) -> None:
    asyncio.run(_declare(amqp_url, park=True))
    code, found = doctor(broker=amqp_url)
    assert code == 0
    assert "1 parked messages" in says(found, "broker queues", "warning")


def test_a_database_that_a_newer_version_has_migrated_is_refused_by_name(doctor: Doctor, postgresql_url: str) -> None:
    asyncio.run(_migrate(postgresql_url))
    asyncio.run(_let_a_newer_version_have_been_here(postgresql_url))
    code, found = doctor(store=postgresql_url)
    assert code == 1
    assert "9999" in says(found, "store", "fault")
    with pytest.raises(Refused, match="upgrade this program"):
        asyncio.run(_migrate(postgresql_url))


async def test_a_slow_host_is_not_taken_for_a_slow_clock(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = migrations.of_this_version()

    def slowly() -> tuple[str, frozenset[str]]:
        time.sleep(1.0)  # as a busy host does
        return known

    monkeypatch.setattr(migrations, "of_this_version", slowly)
    assert abs((await examined.examine(postgresql_url)).clock_s) < 0.5


async def _declare(url: str, *, park: bool = False) -> None:
    link = RabbitMQ.connect(url, name="test")
    try:
        await link.declare([PARKED_QUEUE])
        if park:
            await link.publish(Message("warrener.parked", "", "x/1", b"{}", "m1"))
    finally:
        await link.close()


async def _migrate(url: str) -> None:
    store = open_store(url)
    try:
        await store.migrate(shards=4)
    finally:
        await store.close()


async def _let_a_newer_version_have_been_here(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    finally:
        await connection.close()
