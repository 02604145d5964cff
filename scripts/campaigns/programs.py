"""`kills`: kill -9 of any program, several at once, while work goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from warrener.ids import shard_of

from .campaign import Campaign
from .history import Line, now_s

NEW_WORK_WITHIN_S = 5.0
AT_ONCE = 4
"""Programs that are killed within the same moment."""


async def kills(campaign: Campaign) -> None:
    """Kill so many programs, in waves; a wave is over when every one of them has begun new work."""
    names = campaign.deployment.services
    left = campaign.trials(500, 12)
    while left > 0:
        await asyncio.sleep(campaign.rng.uniform(0.1, 0.8))
        wave = campaign.rng.sample(names, min(left, AT_ONCE, len(names)))
        left -= len(wave)
        async with asyncio.TaskGroup() as tasks:
            for name in wave:
                late_s, away_s = campaign.rng.uniform(0, 0.3), campaign.rng.uniform(0, 1)
                tasks.create_task(strike(campaign, name, late_s=late_s, away_s=away_s, limit_s=NEW_WORK_WITHIN_S))


async def strike(campaign: Campaign, name: str, *, late_s: float, away_s: float, limit_s: float | None) -> None:
    """Kill one program, start it again, and measure when it works again."""
    deployment = campaign.deployment
    await asyncio.sleep(late_s)
    proves = await _proof(campaign, name)
    trial = campaign.begins("kill", name)
    await asyncio.to_thread(deployment.kill, name)
    await asyncio.sleep(away_s)
    again_s = now_s()
    await asyncio.to_thread(deployment.again, name)
    took_s = await _works_again(campaign, name, proves, again_s)
    campaign.figure("restart to new work, s", took_s, target=name, limit=limit_s)
    campaign.over("kill", name, trial)


async def _works_again(campaign: Campaign, name: str, proves: Callable[[Line], bool], again_s: float) -> float | None:
    if name != "gateway":
        return await campaign.first_start(proves, again_s)

    async def accepts() -> bool:
        return campaign.traffic.gateway_accepted_s > again_s

    return await campaign.until(accepts, within_s=30)


async def _proof(campaign: Campaign, name: str) -> Callable[[Line], bool]:
    """Return what tells whether a start proves that a program works again."""
    kind, _, host = name.partition("-")
    killed_s, traffic = now_s(), campaign.traffic

    def is_new(line: Line) -> bool:
        return traffic.accepted.get(line["run"], 0.0) >= killed_s

    if kind == "scheduler":
        rows = await campaign.eye.rows("SELECT shard FROM shards WHERE owner = $1", name) or []
        shards = {row["shard"] for row in rows}
        return lambda line: is_new(line) and (not shards or shard_of(line["run"]) in shards)
    return lambda line: bool(line["kind"] == kind and line["host"] == host)
