"""`disk`: a worker's disk fills up. `clock`: the clocks of hosts step. `mixed`: everything, at once, for minutes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from fleet.hosts import Host

from . import servers
from .campaign import Campaign
from .history import now_s
from .programs import strike

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
SMALL_DISK_BYTES = 4 * 1024 * 1024


# ── disk ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def disk(campaign: Campaign) -> None:
    """Fill the disks of two worker hosts to the last byte, again and again, and make room again."""
    hosts = campaign.deployment.meadows[:2]
    for _ in range(campaign.trials(20, 2) // len(hosts)):
        trials = {host: campaign.begins("disk full", host.name) for host in hosts}
        for host in hosts:
            await asyncio.to_thread(_fill, campaign.deployment.state_of(host))
        await asyncio.sleep(campaign.rng.uniform(4, 8))
        for host in hosts:
            (campaign.deployment.state_of(host) / "fill").unlink()
        free_s = now_s()
        for host in hosts:
            took_s = await campaign.new_work(free_s, kind="job", host=host.name)
            campaign.figure("jobs again after room was made, s", took_s, target=host.name)
            campaign.over("disk full", host.name, trials[host])


def _fill(folder: Path) -> None:
    with (folder / "fill").open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            while True:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    break


def small_disks(folder: Path) -> None:
    """Give the first two worker hosts a small disk of their own; called before anything starts."""
    for number in (1, 2):
        state = folder / "hosts" / f"meadow-{number}"
        state.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "small", str(state)], check=True)


# ── clock ────────────────────────────────────────────────────────────────────────────────────────────────────────


def clock_of(folder: Path, host: str) -> Path:
    """Return the file that says by how much a host's clock is wrong."""
    return folder / f"clock-{host}"


def wrong_clocks(folder: Path, host: str) -> dict[str, str]:
    """Return what makes a program believe in its host's clock, which may step; steady clocks stay true."""
    if FAKETIME is None:
        raise SystemExit("chaos clock needs libfaketime; as root: apt-get install faketime")
    clock_of(folder, host).write_text("+0\n")
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock_of(folder, host)),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def clock(campaign: Campaign) -> None:
    """Step the clocks of some hosts by seconds, an hour, or a day; half of the time, programs start at a wrong time."""
    deployment, rng = campaign.deployment, campaign.rng
    left = campaign.trials(40, 4)
    while left > 0:
        hosts = rng.sample([*deployment.meadows, *deployment.desks], min(left, 4))
        left -= len(hosts)
        trials = {}
        for host in hosts:
            step_s = rng.choice((-86_400, -3_600, -7, 7, 3_600, 86_400))
            trials[host] = campaign.begins("clock step", host.name, seconds=step_s)
            clock_of(deployment.folder, host.name).write_text(f"{step_s:+d}\n")
            if rng.random() < 0.5:
                name = rng.choice(deployment.services_on(host))
                await asyncio.to_thread(deployment.kill, name)
                await asyncio.to_thread(deployment.again, name)
        stepped_s = now_s()
        took_s = await campaign.new_work(stepped_s)
        campaign.figure("new work after a step, s", took_s, target="everybody")
        await asyncio.sleep(rng.uniform(3, 6))
        for host in hosts:
            clock_of(deployment.folder, host.name).write_text("+0\n")
            campaign.over("clock step", host.name, trials[host])


# ── mixed ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def mixed(campaign: Campaign) -> None:
    """Do anything to anybody, up to three things at a time, as long as the minutes last."""
    minutes = 0.5 if campaign.options.short else campaign.options.minutes
    ends_s, busy = now_s() + 60 * minutes, set[str]()
    async with asyncio.TaskGroup() as tasks:
        while now_s() < ends_s:
            await asyncio.sleep(campaign.rng.uniform(0.5, 3))
            name, target, way = _choose(campaign)
            if target not in busy and len(busy) < 3:
                busy.add(target)
                tasks.create_task(_one(campaign, name, target, way, busy))


Way = Callable[[], Awaitable[object]]


async def _one(campaign: Campaign, name: str, target: str, way: Way, busy: set[str]) -> None:
    if name == "kill":
        await way()  # writes down by itself
    else:
        trial = campaign.begins(name, target)
        await way()
        campaign.over(name, target, trial)
    busy.discard(target)


def _choose(campaign: Campaign) -> tuple[str, str, Way]:
    """Return a fault, what it hits, and how it is done."""
    deployment, rng = campaign.deployment, campaign.rng
    host = rng.choice([*deployment.meadows, *deployment.desks])
    name = rng.choice(deployment.services_on(host))
    of_broker = rng.choice(servers.BROKER_STRIKES)
    of_database = rng.choice(servers.DATABASE_STRIKES)
    ways: list[tuple[int, str, str, Way]] = [
        (6, "kill", host.name, lambda: strike(campaign, name, late_s=0, away_s=rng.uniform(0, 1), limit_s=None)),
        (2, "power", host.name, lambda: _power(campaign, host)),
        (2, "cable", host.name, lambda: _away(campaign, host.unplug, host.heal, 2, 15)),
        (2, "cut", host.name, lambda: _away(campaign, host.cut, host.heal, 2, 15)),
        (2, "freeze host", host.name, lambda: _away(campaign, host.freeze, host.thaw, 1, 15)),
        (2, "freeze program", host.name, lambda: _freeze_program(campaign, name)),
        (2, "loss", host.name, lambda: _away(campaign, lambda: host.lose(0.2), host.heal, 3, 10)),
        (2, "agent", host.name, lambda: _agent(campaign, host)),
        (2, of_broker.__name__.strip("_"), "broker", lambda: of_broker(campaign)),
        (2, of_database.__name__.removeprefix("_db_"), "database", lambda: of_database(campaign)),
    ]
    _, fault, target, way = rng.choices(ways, [share for share, *_ in ways])[0]
    return fault, target, way


async def _away(
    campaign: Campaign, begin: Callable[[], None], end: Callable[[], None], least_s: float, most_s: float
) -> None:
    await asyncio.to_thread(begin)
    await asyncio.sleep(campaign.rng.uniform(least_s, most_s))
    await asyncio.to_thread(end)


async def _power(campaign: Campaign, host: Host) -> None:
    await asyncio.to_thread(campaign.deployment.power_off, host)
    await asyncio.sleep(campaign.rng.uniform(1, 15))
    await asyncio.to_thread(campaign.deployment.power_on, host)


async def _freeze_program(campaign: Campaign, name: str) -> None:
    campaign.deployment.signal(name, signal.SIGSTOP)
    await asyncio.sleep(campaign.rng.uniform(1, 15))
    campaign.deployment.signal(name, signal.SIGCONT)


async def _agent(campaign: Campaign, host: Host) -> None:
    agent = campaign.deployment.agents.get(host.name)
    if agent is not None:
        await asyncio.to_thread(agent.kill)
        await asyncio.sleep(campaign.rng.uniform(0, 10))
        await asyncio.to_thread(agent.start)
