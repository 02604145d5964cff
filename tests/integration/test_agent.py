"""Serf agents that Warrener runs itself: they join, are started again, say what is wrong, and leave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from fleet.process import free_port
from warrener.errors import GossipUnavailable, InvalidSettings
from warrener.gossip import Gossip, Status
from warrener.gossips import open_gossip
from warrener.gossips.agent import Agent, Patience, agent_of, running_agent
from warrener.gossips.agent_plan import Address, AgentPlan, seed_of
from warrener.settings import Settings
from warrener.signing import make_keys

pytestmark = pytest.mark.serf

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
QUICK = Patience(check_every_s=0.2, answer_within_s=0.3, rejoin_every_s=0.5, first_pause_s=0.05, longest_pause_s=0.2)


def plan(
    folder: Path, host: str = "hare", *, key: bytes = KEY, seeds: tuple[str, ...] = (), port: int = 0
) -> AgentPlan:
    return AgentPlan(Address("127.0.0.1", port or free_port()), host, folder, key, seeds, profile="local")


def where(agent: Agent) -> str:
    return str(agent.plan.bind)


@asynccontextmanager
async def gossip_at(url: str) -> AsyncIterator[Gossip]:
    gossip = open_gossip(url)
    try:
        yield gossip
    finally:
        await gossip.close()


async def until(condition: Callable[[], object], *, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


async def until_seen(gossip: Gossip, name: str, status: Status, *, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while True:
            try:
                if any(member.name == name and member.status is status for member in await gossip.members()):
                    return
            except GossipUnavailable:
                pass
            await asyncio.sleep(0.05)


async def living(gossip: Gossip) -> set[str]:
    try:
        return {member.name for member in await gossip.members() if member.status is Status.ALIVE}
    except GossipUnavailable:
        return set()


def process_of(agent: Agent) -> int:
    return int((agent.folder.path / "pid").read_text())


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_two_agents_find_one_another_and_one_leaves_as_planned(tmp_path):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_agent(plan(tmp_path / "1", "hare"), patience=QUICK))
        gossip = await stack.enter_async_context(gossip_at(first.url))
        async with running_agent(plan(tmp_path / "2", "Do.e", seeds=(where(first),)), patience=QUICK) as second:
            assert second.name.startswith("Do-e-")
            await until_seen(gossip, second.name, Status.ALIVE)
            assert await gossip.own_name() == first.name
        await until_seen(gossip, second.name, Status.LEFT)
        assert not runs(process_of(second))


async def test_its_files_are_its_owners_only_and_hold_no_handler(tmp_path):
    async with running_agent(plan(tmp_path / "agent"), patience=QUICK) as agent:
        folder = agent.folder.path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("agent.json", "url", "name"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        told = json.loads((folder / "agent.json").read_text())
        assert told["rpc_addr"].startswith("127.0.0.1:")
        assert len(told["rpc_auth"]) >= 16
        assert told["event_handlers"] == []
        assert told["rejoin_after_leave"]
        assert told["leave_on_terminate"]
        command = Path(f"/proc/{process_of(agent)}/cmdline").read_bytes()
        assert told["rpc_auth"].encode() not in command
        assert told["encrypt_key"].encode() not in command


async def test_an_agent_that_dies_is_started_again_as_the_same_member(tmp_path):
    async with running_agent(plan(tmp_path / "agent"), patience=QUICK) as agent, gossip_at(agent.url) as gossip:
        before, name = process_of(agent), agent.name
        os.kill(before, signal.SIGKILL)
        await until(lambda: process_of(agent) != before)
        await until_seen(gossip, name, Status.ALIVE)
        assert await gossip.own_name() == name


async def test_an_agent_that_does_not_answer_three_times_is_started_again(tmp_path):
    async with running_agent(plan(tmp_path / "agent"), patience=QUICK) as agent, gossip_at(agent.url) as gossip:
        frozen = process_of(agent)
        os.kill(frozen, signal.SIGSTOP)
        await until(lambda: process_of(agent) != frozen)
        await until_seen(gossip, agent.name, Status.ALIVE)
        assert not runs(frozen)


async def test_a_seed_that_is_down_is_named_and_joined_when_it_comes(tmp_path):
    seed = plan(tmp_path / "seed", "late")
    with capture_logs() as logs:
        async with running_agent(plan(tmp_path / "1", seeds=(str(seed.bind),)), patience=QUICK) as agent:
            await until(lambda: f"the seed {seed.bind} does not answer (connection refused)" in str(logs))
            async with running_agent(seed, patience=QUICK) as late, gossip_at(agent.url) as gossip:
                await until_seen(gossip, late.name, Status.ALIVE)
    said = [line for line in logs if line.get("problem") == "seed"]
    assert len(said) == 1, "said once, not at every try"


async def test_another_key_is_told_on_both_sides(tmp_path):
    with capture_logs() as logs:
        async with (
            running_agent(plan(tmp_path / "1"), patience=QUICK) as agent,
            running_agent(plan(tmp_path / "2", key=OTHER_KEY, seeds=(where(agent),)), patience=QUICK),
        ):
            for problem in ("key", "stranger"):
                await until(lambda problem=problem: any(line.get("problem") == problem for line in logs))
    assert "WARRENER_GOSSIP_KEY" in str(logs)
    assert KEY.hex() not in str(logs)


async def test_a_taken_port_is_named_and_taken_when_it_is_free(tmp_path):
    wanted = plan(tmp_path / "agent")
    with socket.socket() as holder, capture_logs() as logs:
        holder.bind((wanted.bind.host, wanted.bind.port))
        holder.listen()
        starting = asyncio.create_task(run_until_ready(wanted))
        await until(lambda: f"another program listens on {wanted.bind}" in str(logs))
        assert not starting.done()
        holder.close()
        async with asyncio.timeout(20):
            await starting


async def run_until_ready(wanted: AgentPlan) -> None:
    async with running_agent(wanted, patience=QUICK) as agent:
        await agent.ready.wait()


async def test_a_member_whose_name_is_taken_takes_another(tmp_path):
    first, second = plan(tmp_path / "1"), plan(tmp_path / "2")
    for one in (first, second):
        one.folder.mkdir()
        (one.folder / "name").write_text("hare-000000\n")
    with capture_logs() as logs:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running_agent(first, patience=QUICK))
            seeded = AgentPlan(second.bind, "hare", second.folder, KEY, (where(one),), profile="local")
            two = await stack.enter_async_context(running_agent(seeded, patience=QUICK))
            gossip = await stack.enter_async_context(gossip_at(two.url))
            async with asyncio.timeout(60):  # both take new names, and not at the same moment
                while one.name == two.name or not {one.name, two.name} <= await living(gossip):
                    await asyncio.sleep(0.05)
    assert "has this one's name" in str(logs)


async def test_an_agent_dies_with_its_program(tmp_path):
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from warrener.gossips.agent import *; from warrener.gossips.agent_plan import *\n"
        "async def main():\n"
        "    there = AgentPlan(Address('127.0.0.1', int(sys.argv[2])), 'hare', Path(sys.argv[1]), b'k' * 32)\n"
        "    async with running_agent(there):\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "agent", str(free_port())], stdout=subprocess.PIPE, text=True
    )
    with program:
        try:
            assert program.stdout is not None
            while "ready" not in (line := await asyncio.to_thread(program.stdout.readline)):
                assert line, "the program ended"
            pid = int((tmp_path / "agent/pid").read_text())
            assert runs(pid)
        finally:
            program.kill()
    await until(lambda: not runs(pid))


async def test_what_a_killed_program_left_is_ended_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("warrener.gossips.agent._dying_with_us", list)
    there = plan(tmp_path / "agent")
    there.folder.mkdir()
    config = there.folder / "agent.json"
    config.write_text(
        json.dumps({"node_name": "left", "bind": str(there.bind), "rpc_addr": f"127.0.0.1:{free_port()}"})
    )
    left = subprocess.Popen(["serf", "agent", f"-config-file={config}"], stdout=subprocess.DEVNULL)
    try:
        await until(lambda: b"serf" in Path(f"/proc/{left.pid}/cmdline").read_bytes())
        (there.folder / "pid").write_text(str(left.pid))
        async with running_agent(there, patience=QUICK) as agent:
            await agent.ready.wait()
            assert left.wait(10) == -signal.SIGKILL
    finally:
        left.kill()
        left.wait()


async def test_one_folder_has_one_agent(tmp_path):
    async with running_agent(plan(tmp_path / "agent"), patience=QUICK):
        with pytest.raises(InvalidSettings, match="WARRENER_GOSSIP=agent://"):
            async with running_agent(plan(tmp_path / "agent"), patience=QUICK):
                pass


async def test_settings_make_an_agent_for_a_program(tmp_path):
    make_keys(tmp_path / "keys")
    told = Settings(state=tmp_path, agent=f"localhost:{free_port()}", host="doe")
    async with agent_of(told) as settings:
        assert settings.gossip == f"agent://{tmp_path}/agent"
        assert settings.stop_timeout < told.stop_timeout
        async with gossip_at(settings.gossip) as gossip:
            assert str(await gossip.own_name()).startswith("doe-")
            assert await gossip.told() == {"site": "local"}
    async with gossip_at(settings.gossip) as gossip:
        with pytest.raises(GossipUnavailable, match="there is no Serf agent in"):
            await gossip.own_name()
    async with agent_of(Settings(state=tmp_path)) as settings:
        assert settings.gossip == "static://"


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"gossip": "serf://127.0.0.1:7373"}, "WARRENER_AGENT and WARRENER_GOSSIP are both set"),
        ({"agent": "127.0.0.1:99999"}, "WARRENER_AGENT: '127.0.0.1:99999' is no address"),
        ({"agent": "no-such-host.invalid:1"}, "WARRENER_AGENT: there is no address for no-such-host.invalid"),
        ({"seeds": (":1",)}, "WARRENER_SEEDS: ':1' is no address"),
        ({"gossip_key": Path("/nowhere/gossip.key")}, "there is no /nowhere/gossip.key; make the keys"),
    ],
)
async def test_wrong_settings_are_named(tmp_path, wrong, part):
    make_keys(tmp_path / "keys")
    with pytest.raises(InvalidSettings, match=part):
        async with agent_of(Settings(state=tmp_path, **{"agent": "127.0.0.1:7946", **wrong})):
            pass


async def test_a_host_without_serf_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidSettings, match="apt-get install serf"):
        async with running_agent(plan(tmp_path / "agent")):
            pass


def test_seeds_are_read_with_and_without_ports():
    assert [seed_of(text) for text in ("meadow", "meadow:1", "10.0.0.1", "[::1]:5", "[::1]", "::1")] == [
        "meadow:7946", "meadow:1", "10.0.0.1:7946", "[::1]:5", "[::1]:7946", "[::1]:7946",
    ]  # fmt: skip


def test_a_name_stays_with_its_folder_and_host(tmp_path):
    from warrener.gossips.agent_folder import AgentFolder

    folder = AgentFolder(tmp_path)
    name = folder.name("hare", Random(1))
    assert folder.name("hare", Random(2)) == name
    assert folder.name("doe", Random(2)).startswith("doe-")


async def test_the_doctor_looks_at_the_agent_of_a_program(tmp_path, monkeypatch):
    from warrener_services.cli.doctor import gossip as doctor
    from warrener_services.cli.doctor.findings import Health

    told = Settings(state=tmp_path, agent=f"127.0.0.1:{free_port()}", agent_profile="local")
    (unready,) = await doctor.look(told)
    assert unready.health is Health.FAULT
    assert "gossip.key" in unready.says
    make_keys(tmp_path / "keys")
    (not_yet,) = await doctor.look(told)
    assert "no program has run its agent" in not_yet.says
    async with agent_of(told):
        well, *_ = await doctor.look(told)
        assert well.health is Health.WELL
    (gone,) = await doctor.look(told)
    assert gone.health is Health.FAULT
    monkeypatch.setenv("PATH", str(tmp_path))
    (no_serf,) = await doctor.look(told)
    assert "apt-get install serf" in no_serf.says
