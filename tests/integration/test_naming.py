"""From one member's address to broker, store and gateway, with a proof and without passwords."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fleet.process import free_port
from warrener.errors import Forged, InvalidMessage, InvalidSettings
from warrener.gossips import open_gossip
from warrener.gossips.agent import agent_of
from warrener.gossips.naming import (
    MAX_BYTES,
    QUERY,
    Found,
    answer_for_ever,
    deployment_of,
    find,
    found_by,
    signed,
    with_found,
)
from warrener.gossips.proved import read_proved
from warrener.gossips.serf import SerfGossip
from warrener.settings import Settings
from warrener.signing import make_keys, read_signer, read_verifier
from warrener_services.cli.doctor import naming as doctor

BROKER, STORE = "amqp://root:carrot@broker:5672/warrener", "postgresql://root:carrot@db/warrener"
FOUND = Found(broker="amqp://broker:5672/warrener", store="postgresql://db/warrener", gateway="http://gw:80")


def settings_in(folder: Path, **given: object) -> Settings:
    make_keys(folder.parent / "keys")
    return Settings(state=folder, keys=folder.parent / "keys", agent_profile="local", **given)


def test_addresses_are_told_without_logins_and_files_of_a_host_not_at_all() -> None:
    told = deployment_of(Settings(broker=f"{BROKER}?x=1", store=STORE, gateway="http://gw:80", seeds="a:1,b"))
    assert told == FOUND.model_copy(update={"seeds": ["a:1", "b"]})
    assert deployment_of(Settings(), [f"h{n}:7946" for n in range(9)]).seeds == [f"h{n}:7946" for n in range(5)]
    alone = deployment_of(Settings(broker="memory://", store="sqlite:////x", gateway="unix:/x"))
    assert (alone.broker, alone.store, alone.gateway) == ("", "", "")


def test_an_answer_is_small_and_proved(tmp_path: Path) -> None:
    make_keys(tmp_path)
    make_keys(tmp_path / "other")
    signer, verifier = read_signer(tmp_path), read_verifier(tmp_path)
    many = FOUND.model_copy(update={"seeds": [f"host-{n}.warren.example:7946" for n in range(100)]})
    answer = signed(many, signer)
    assert len(answer) <= MAX_BYTES
    read = read_proved(answer, verifier, Found)
    assert read.broker == FOUND.broker
    assert 10 < len(read.seeds) < 30
    for forged in (
        signed(FOUND, read_signer(tmp_path / "other")),
        answer.replace(b"broker:5672", b"thieve:5672"),
        b"x",
    ):
        with pytest.raises(Forged):
            read_proved(forged, verifier, Found)
    order = b'{"kind":"orders/1"}'
    with pytest.raises(InvalidMessage):
        read_proved(signer.sign(order).encode() + b"\n" + order, verifier, Found)
    with pytest.raises(InvalidSettings, match="more than"):
        signed(Found(broker="amqp://" + "x" * 900), signer)


def test_what_is_set_stays_and_logins_are_joined_to_what_was_found() -> None:
    given = with_found(Settings(broker_login="hare:c@rrot/1", store_login="doe:clover"), FOUND)
    assert given.broker == "amqp://hare:c%40rrot%2F1@broker:5672/warrener"
    assert given.store == "postgresql://doe:clover@db/warrener"
    assert given.gateway == FOUND.gateway
    own = with_found(Settings(broker="amqp://mine", store="sqlite:////x", gateway="http://mine"), FOUND)
    assert (own.broker, own.store, own.gateway) == ("amqp://mine", "sqlite:////x", "http://mine")
    assert with_found(Settings(), FOUND).store == "", "a program without a login for it is no program with a store"
    with pytest.raises(InvalidSettings, match="WARRENER_BROKER_LOGIN: give user:password"):
        with_found(Settings(broker_login="hare"), FOUND)


@pytest.mark.serf
async def test_a_program_finds_its_deployment_by_one_address_and_passes_over_liars(tmp_path: Path) -> None:
    here = f"127.0.0.1:{free_port()}"
    known = settings_in(tmp_path / "gossip", agent=here, broker=BROKER, store=STORE, gateway="http://gw:80")
    liar_settings = settings_in(tmp_path / "liar", agent=f"127.0.0.1:{free_port()}", seeds=(here,))
    asking = settings_in(tmp_path / "job", agent=f"127.0.0.1:{free_port()}", join=here, broker_login="job:carrot")
    make_keys(tmp_path / "stolen")
    async with AsyncExitStack() as stack:
        tasks: list[asyncio.Task[None]] = []
        first = await stack.enter_async_context(agent_of(known))
        liar = await stack.enter_async_context(agent_of(liar_settings))

        def answers(settings: Settings, answer: bytes) -> None:
            gossip = open_gossip(settings.gossip)
            assert isinstance(gossip, SerfGossip)
            stack.push_async_callback(gossip.close)
            tasks.append(asyncio.create_task(answer_for_ever(gossip, lambda: answer)))

        answers(liar, signed(Found(broker="amqp://thief:5672/x"), read_signer(tmp_path / "stolen")))
        with capture_logs() as logs:
            async with agent_of(asking) as told, asyncio.timeout(60):
                finding = asyncio.create_task(found_by(told))
                while "passed over" not in str(logs):
                    await asyncio.sleep(0.05)
                assert not finding.done()
                answers(first, signed(deployment_of(known), read_signer(tmp_path / "keys")))
                found = await finding
        assert found.broker == "amqp://job:carrot@broker:5672/warrener"
        assert found.store == ""
        assert "carrot" not in str(logs)

        command = [sys.executable, "-m", "warrener_services.cli.__main__", "find", here]
        env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "WARRENER_KEYS": str(tmp_path / "keys"), "HOME": str(tmp_path)}
        typed = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=60)
        assert typed.returncode == 0, typed.stderr
        assert "broker   amqp://broker:5672/warrener\n" in typed.stdout
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.serf
async def test_the_doctor_looks_at_what_gossip_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"127.0.0.1:{free_port()}"
    known = settings_in(tmp_path / "gossip", agent=here, broker=BROKER, store=STORE, gateway="http://gw:80")
    asking = settings_in(tmp_path / "job", agent=f"127.0.0.1:{free_port()}", join=here, broker_login="job:carrot")
    async with agent_of(known) as first, agent_of(asking):
        monkeypatch.setattr(doctor, "_PATIENCE_S", 0.5)
        given, (untold,) = await doctor.found(asking)
        assert (given, untold.health) == (asking, "warning")
        assert "nobody said so within 0.5 s" in untold.says
        monkeypatch.undo()
        async with asyncio.TaskGroup() as group:
            gossip = open_gossip(first.gossip)
            assert isinstance(gossip, SerfGossip)
            answer = signed(deployment_of(known), read_signer(tmp_path / "keys"))
            answering = group.create_task(answer_for_ever(gossip, lambda: answer))
            given, (told,) = await doctor.found(asking)
            answering.cancel()
        await gossip.close()
    assert given.broker == "amqp://job:carrot@broker:5672/warrener"
    assert (told.health, told.says) == ("well", "gossip told where to find: broker, gateway")


@pytest.mark.serf
async def test_who_has_no_agent_cannot_ask(tmp_path: Path) -> None:
    make_keys(tmp_path)
    with pytest.raises(InvalidSettings, match="nobody to ask"):
        await find(open_gossip("static://"), read_verifier(tmp_path))
    assert len(QUERY) < 32
