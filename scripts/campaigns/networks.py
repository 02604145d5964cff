"""`partitions` and `loss`: services are cut off from the broker or the database, or lose a part of their packets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from fleet.hosts import Host
from warrener.ids import shard_of

from .campaign import Campaign
from .history import Line, now_s

NOTICED_WITHIN_S, HEALED_WITHIN_S = 20.0, 10.0
_AWAY = '"broker is away'


async def partitions(campaign: Campaign) -> None:
    """Cut most worker hosts and a desk off from the broker at once, some for long, some briefly."""
    deployment = campaign.deployment
    left, number = campaign.trials(100, 5), 0
    while left > 0:
        number += 1
        meadows = campaign.rng.sample(
            deployment.meadows, max(1, min(len(deployment.meadows) * 4 // 5, (left + 1) // 2))
        )
        hosts = [*meadows, deployment.desks[-1]]
        names = [name for host in hosts for name in deployment.services_on(host)]
        left -= len(names)
        short = number % 3 == 0
        away_s = campaign.rng.uniform(2, 12) if short else campaign.rng.uniform(20, 24)
        await _wave(campaign, hosts, names, away_s, noticed=not short)
        await asyncio.sleep(campaign.rng.uniform(1, 2))


async def _wave(campaign: Campaign, hosts: list[Host], names: list[str], away_s: float, *, noticed: bool) -> None:
    deployment, servers = campaign.deployment, campaign.deployment.servers
    proofs = {name: await _proof(campaign, name) for name in names}
    logs = {name: _size(deployment.folder / f"{name}.log") for name in names}
    trials = {name: campaign.begins("partition", name) for name in names}
    cut_s = now_s()
    for host in hosts:
        await asyncio.to_thread(host.block, servers.address, deployment.rabbitmq.port)
    seen: dict[str, float] = {}
    while now_s() - cut_s < away_s:
        for name in names:
            if name not in seen and _AWAY in _rest(deployment.folder / f"{name}.log", logs[name]):
                seen[name] = now_s() - cut_s
        await asyncio.sleep(0.2)
    for host in hosts:
        await asyncio.to_thread(host.heal)
    healed_s = now_s()
    took = await asyncio.gather(*(campaign.first_start(proofs[name], healed_s, within_s=40) for name in names))
    for name, took_s in zip(names, took, strict=True):
        if noticed:
            campaign.figure("partition noticed, s", seen.get(name), target=name, limit=NOTICED_WITHIN_S)
        campaign.figure("works again after healing, s", took_s, target=name, limit=HEALED_WITHIN_S)
        if took_s is None:
            campaign.wrong(
                f"{name} is connected or not, and takes no work 40 s after its partition was healed", "stuck"
            )
        campaign.over("partition", name, trials[name])


async def _proof(campaign: Campaign, name: str) -> Callable[[Line], bool]:
    kind, _, host = name.partition("-")
    if kind == "scheduler":
        rows = await campaign.eye.rows("SELECT shard FROM shards WHERE owner = $1", name) or []
        shards = {row["shard"] for row in rows}
        return lambda line: not shards or shard_of(line["run"]) in shards
    return lambda line: bool(line["kind"] == kind and line["host"] == host)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _rest(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


async def loss(campaign: Campaign) -> None:
    """Let half of the hosts lose a part of what reaches them, the servers among them now and then."""
    deployment = campaign.deployment
    left = campaign.trials(60, 4)
    everybody = [*deployment.meadows, *deployment.desks, deployment.servers]
    while left > 0:
        hosts = campaign.rng.sample(everybody, min(left, len(everybody) // 2))
        left -= len(hosts)
        shares = {host: campaign.rng.choice((0.02, 0.1, 0.25)) for host in hosts}
        trials = {host: campaign.begins("loss", host.name, share=share) for host, share in shares.items()}
        for host, share in shares.items():
            await asyncio.to_thread(host.lose, share)
        lossy_s = now_s()
        took_s = await campaign.new_work(lossy_s)
        campaign.figure("new work while packets are lost, s", took_s, target="everybody")
        await asyncio.sleep(campaign.rng.uniform(5, 10))
        for host in hosts:
            await asyncio.to_thread(host.heal)
            campaign.over("loss", host.name, trials[host])
