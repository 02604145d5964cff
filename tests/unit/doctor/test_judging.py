"""What the doctor says of what it has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from warrener.brokers.examined import BrokerSeen, QueueSeen
from warrener.errors import BrokerUnavailable
from warrener.gossip import Member, Status
from warrener.stores.examined import StoreSeen
from warrener.views import Health as GatewayHealth
from warrener_services.cli.doctor import broker, gateway, gossip, host, store
from warrener_services.cli.doctor.findings import Finding, Health

BROKER = BrokerSeen("rabbit:5672", "RabbitMQ", "3.10.8", 5, 0.002, "", (), {}, "")
STORE = StoreSeen("PostgreSQL", "15.18", "0005", "0005", True, {"fsync": "on", "synchronous_commit": "on"}, 0.0)
FOLDER = host.FolderSeen(Path("/var/lib/warrener"), "state", 50 * 1024**3, 1_000_000, "ext4", 0.002, "")
ALIVE = [Member("a", Status.ALIVE), Member("b", Status.ALIVE)]
AGENT = {"agent": {"name": "a"}, "serf": {"encrypted": "true", "health_score": "0"}}


def worst(findings: object) -> Finding:
    order = [Health.FAULT, Health.WARNING, Health.UNUSED, Health.WELL]
    return min(findings, key=lambda finding: order.index(finding.health))  # type: ignore[call-overload]


@pytest.mark.parametrize("version", ["3.10.8", "3.13.7", "4.0.5", "4.3.1"])
def test_a_broker_of_a_known_version_is_well(version: str) -> None:
    assert worst(broker.judge(replace(BROKER, version=version))).health is Health.WELL


@pytest.mark.parametrize(
    ("seen", "health", "says"),
    [
        (replace(BROKER, version="3.8.2"), Health.FAULT, "too old"),
        (replace(BROKER, version="5.1.0"), Health.WARNING, "newer than what was tried"),
        (replace(BROKER, product="LavinMQ"), Health.WARNING, "is not RabbitMQ"),
        (replace(BROKER, round_s=None), Health.FAULT, "did not come round"),
        (replace(BROKER, round_s=None, refused="access refused"), Health.WARNING, "may not send itself a message"),
        (replace(BROKER, round_s=2.0), Health.WARNING, "2.0 s there and back"),
        (replace(BROKER, missing=["warrener.events"]), Health.FAULT, "warrener.events are missing"),
        (replace(BROKER, alarm="blocked: memory alarm"), Health.FAULT, "memory alarm"),
        (replace(BROKER, heartbeat_s=0), Health.WARNING, "noticed late"),
        (replace(BROKER, queues={"parked": QueueSeen("parked", 3, 0)}), Health.WARNING, "3 parked messages"),
        (replace(BROKER, queues={"orders.job": QueueSeen("orders.job", 7, 0)}), Health.WARNING, "7 messages wait"),
        (replace(BROKER, queues={"submissions": QueueSeen("submissions", 0, 0)}), Health.WARNING, "nobody is at"),
    ],
)
def test_what_is_wrong_with_a_broker_is_said_with_what_to_do(seen: BrokerSeen, health: Health, says: str) -> None:
    found = worst(broker.judge(seen))
    assert (found.health, bool(found.do)) == (health, True)
    assert says in found.says


def test_one_node_of_a_cluster_is_enough() -> None:
    away = BrokerUnavailable("no connection to the broker at one:5672: no answer in time")
    found = list(broker.judge_nodes([away, BROKER, away]))
    assert [finding.health for finding in found[:3]] == [Health.WARNING, Health.WARNING, Health.WELL]
    assert "one:5672" in found[0].says
    assert [finding.health for finding in broker.judge_nodes([away, away])] == [Health.FAULT, Health.FAULT]


def test_missing_exchanges_are_made_by_who_may() -> None:
    found = worst(broker.judge(replace(BROKER, missing=["warrener.events"])))
    assert "may configure ^warrener" in found.do
    assert "scheduler" not in found.do  # by docs/operating.md its user may not


@pytest.mark.parametrize("version", ["14", "15.18 (Debian 15.18-1)", "17beta1", "18devel"])
def test_a_database_of_a_known_version_is_well(version: str) -> None:
    assert worst(store.judge(replace(STORE, version=version))).health is Health.WELL


@pytest.mark.parametrize(
    ("seen", "health", "says"),
    [
        (replace(STORE, migration=None), Health.WELL, "empty"),
        (replace(STORE, migration="0004"), Health.WELL, "brings it to 0005"),
        (replace(STORE, migration="0099", known=False), Health.FAULT, "newer version"),
        (replace(STORE, settings={"fsync": "off"}), Health.FAULT, "fsync is off"),
        (replace(STORE, settings={"synchronous_commit": "off"}), Health.FAULT, "may be lost"),
        (replace(STORE, version="12.1"), Health.WARNING, "PostgreSQL 12"),
        (replace(STORE, clock_s=-40.0), Health.WARNING, "40.0 s behind"),
        (replace(STORE, clock_s=3.0), Health.WARNING, "3.0 s ahead of"),
    ],
)
def test_what_is_wrong_with_a_store_is_said_with_what_to_do(seen: StoreSeen, health: Health, says: str) -> None:
    found = worst(store.judge(seen))
    assert found.health is health
    assert any(says in finding.says for finding in store.judge(seen))


@pytest.mark.parametrize(
    ("change", "health", "says"),
    [
        ({}, Health.WELL, "50.0 GiB free"),
        ({"free_bytes": 500 * 1024**2}, Health.WARNING, "0.5 GiB free"),
        ({"free_bytes": 1024**2}, Health.FAULT, "0.0 GiB free"),
        ({"free_inodes": 10}, Health.WARNING, "only 10 more files"),
        ({"file_system": "tmpfs"}, Health.WARNING, "in memory (tmpfs)"),
        ({"fsync_s": 0.5}, Health.WARNING, "500 ms"),
        ({"trouble": "nothing can be written", "fsync_s": None}, Health.FAULT, "nothing can be written"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(change: dict[str, object], health: Health, says: str) -> None:
    found = worst(host.judge_folder(replace(FOLDER, **change)))  # type: ignore[arg-type]
    assert found.health is health
    assert says in found.says


@pytest.mark.parametrize(
    ("members", "serf", "says"),
    [
        (ALIVE, {}, "2 of 2"),
        (ALIVE[:1], {}, "alone in its pool"),
        (ALIVE, {"encrypted": "false"}, "not encrypted"),
        (ALIVE, {"health_score": "3"}, "slow to answer"),
        ([*ALIVE, *(Member(f"w{n}", Status.FAILED) for n in range(7))], {}, "w0, w1, w2, w3, w4 and 2 more"),
    ],
)
def test_what_is_wrong_with_a_pool_is_said(members: list[Member], serf: dict[str, str], says: str) -> None:
    stats = {**AGENT, "serf": {**AGENT["serf"], **serf}}
    assert says in worst(gossip.judge(members, stats)).says


def test_an_agent_that_only_asked_and_was_killed_is_no_dead_host() -> None:
    members = [*ALIVE, Member("find-a", Status.FAILED, tags={"asks": "1"})]
    assert worst(gossip.judge(members, AGENT)).health is Health.WELL


def test_a_gateway_tells_of_the_parts_behind_it() -> None:
    def judged(workers: int = 1, **more: object) -> Finding:
        health = GatewayHealth(**{"store": True, "broker": True, "version": "1.0", **more})  # type: ignore[arg-type]
        return worst(gateway.judge(health, workers, where="unix:/g", own="1.0"))

    assert judged().health is Health.WELL
    assert "no worker" in judged(0).says
    assert "cannot reach its database" in judged(store=False).says
    assert "disk alarm" in judged(broker=False, broker_trouble="disk alarm").says
    assert "version 2.0" in judged(version="2.0").says


def test_keys_and_secrets_that_others_can_read_are_a_fault(tmp_path: Path) -> None:
    from warrener.signing import make_keys

    keys, secrets = tmp_path / "keys", tmp_path / "secrets"
    make_keys(keys)
    assert "schedulers, workers, clients" in worst(host._keys(keys)).says
    (keys / "orders.key").chmod(0o644)
    assert "chmod 600" in worst(host._keys(keys)).says
    (keys / "orders.key").unlink()
    (keys / "claims.key").unlink()
    assert "workers, clients" in worst(host._keys(keys)).says
    secrets.mkdir()
    (secrets / "s3").write_text("x")
    (secrets / "s3").chmod(0o640)
    assert "others can read s3" in worst(host._secrets(secrets)).says
