"""`broker`, `rebuild` and `database`: what everything else stands on is killed, frozen, cut, or emptied."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .campaign import Campaign
from .history import now_s

FLOW_AGAIN_WITHIN_S, REBUILT_WITHIN_S = 15.0, 60.0
_TASKS = 500
"""Tasks of one run of the volume load."""
_RUNS_OPEN = 10
_OPEN = "SELECT count(*) FROM runs WHERE finished_at IS NULL AND tasks >= $1"
_HANG_UP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'warrener'"
)
_DELETE_ALL = '[rabbit_amqqueue:delete(Q, false, false, <<"chaos">>) || Q <- rabbit_amqqueue:list()], ok.'


# ── the broker ───────────────────────────────────────────────────────────────────────────────────────────────────


async def broker(campaign: Campaign) -> None:
    """Break the broker every few seconds while many thousands of tasks go through it."""
    wanted = campaign.trials(100_000, 4_000)
    async with _volume(campaign, wanted) as volume:
        number = 0
        while not volume.done() or number < len(BROKER_STRIKES):
            await asyncio.sleep(campaign.rng.uniform(1, 4))
            way = (BROKER_STRIKES[number:] or [campaign.rng.choice(BROKER_STRIKES)])[0]
            number += 1
            trial = campaign.begins(way.__name__.strip("_"), "broker")
            back_s = await way(campaign)
            for kind in ("job", "call"):
                took_s = await campaign.new_work(back_s, kind=kind)
                campaign.figure(
                    f"{way.__name__.strip('_')}: flow again, s", took_s, target=kind, limit=FLOW_AGAIN_WITHIN_S
                )
            campaign.over(way.__name__.strip("_"), "broker", trial, trials=0)
    campaign.over("tasks through a broken broker", "broker", 0, trials=wanted)


@asynccontextmanager
async def _volume(campaign: Campaign, tasks: int) -> AsyncIterator[asyncio.Task[None]]:
    """Submit runs of many calls, a few at a time, until there were so many tasks."""

    async def submit() -> None:
        for _ in range(0, tasks, _TASKS):
            while await campaign.eye.count(_OPEN, _TASKS) not in range(_RUNS_OPEN):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await campaign.traffic.one(campaign.load.many(_TASKS))

    task = asyncio.create_task(submit())
    try:
        yield task
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _kill(campaign: Campaign) -> float:
    rabbitmq = campaign.deployment.rabbitmq
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.sleep(campaign.rng.uniform(0, 3))
    await asyncio.to_thread(rabbitmq.start)
    return now_s()


async def _freeze(campaign: Campaign) -> float:
    rabbitmq = campaign.deployment.rabbitmq
    rabbitmq.pause()
    await asyncio.sleep(campaign.rng.uniform(2, 10 if campaign.options.short else 22))
    rabbitmq.unpause()
    return now_s()


async def _delete_queues(campaign: Campaign) -> float:
    await asyncio.to_thread(campaign.deployment.rabbitmq.ctl, "eval", _DELETE_ALL)
    return now_s()


async def _wipe(campaign: Campaign) -> float:
    """Lose the broker with everything that it kept, as with its disk; an empty one comes in its place."""
    rabbitmq = campaign.deployment.rabbitmq
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.to_thread(shutil.rmtree, rabbitmq.folder / "data", ignore_errors=True)
    await asyncio.to_thread(rabbitmq.start)
    return now_s()


BROKER_STRIKES: list[Callable[[Campaign], Awaitable[float]]] = [_kill, _freeze, _delete_queues, _wipe]


async def rebuild(campaign: Campaign) -> None:
    """Lose a broker that holds thousands of orders, and measure until the last of them is done."""
    deployment, wanted = campaign.deployment, campaign.trials(10_000, 1_000)
    few = (campaign.load.calls() for _ in itertools.count())
    async with campaign.traffic.flowing(few, rate=10):
        await campaign.warm("call")
    await campaign.eye.until_all_ended()
    gate = deployment.folder / "gate"
    async with asyncio.TaskGroup() as tasks:
        for _ in range(0, wanted, _TASKS):
            tasks.create_task(campaign.traffic.one(campaign.load.many(_TASKS, gate=gate)))
    workers = [name for name in deployment.programs if name.startswith("call-")]
    for name in workers:  # as long as their silence is short, they get orders
        await asyncio.to_thread(deployment.kill, name)
    gate.touch()

    async def ordered() -> bool:
        return await _count_of(campaign, "state = 'ordered'") >= wanted

    async def none_open() -> bool:
        return await _count_of(campaign, "finished_at IS NULL") == 0

    if await campaign.until(ordered, within_s=30) is None:
        count = await _count_of(campaign, "state = 'ordered'")
        campaign.wrong(f"only {count} of {wanted} orders were out when the broker was lost")
    trial = campaign.begins("wipe", "broker", orders=wanted)
    back_s = await _wipe(campaign)
    for name in workers:
        await asyncio.to_thread(deployment.again, name)
    rebuilt_s = None if await campaign.until(none_open, within_s=150) is None else now_s() - back_s
    campaign.figure("all orders rebuilt and done, s", rebuilt_s, target=f"{wanted} orders", limit=REBUILT_WITHIN_S)
    campaign.over("wipe", "broker", trial, trials=wanted)


async def _count_of(campaign: Campaign, which: str) -> int:
    """Count tasks; -1 while the store is away."""
    count = await campaign.eye.count(f"SELECT count(*) FROM tasks WHERE {which}")  # noqa: S608 - constants
    return -1 if count is None else count


# ── the database ─────────────────────────────────────────────────────────────────────────────────────────────────


async def database(campaign: Campaign) -> None:
    """Restart, kill, freeze or cut the database, and look for half states each time it is back."""
    for number in range(campaign.trials(50, 5)):
        await asyncio.sleep(campaign.rng.uniform(0.3, 1.5))
        way = DATABASE_STRIKES[number % len(DATABASE_STRIKES)]
        name = way.__name__.removeprefix("_db_")
        trial = campaign.begins(name, "database")
        await way(campaign)
        back_s = now_s()
        took_s = await campaign.new_work(back_s)
        campaign.figure(f"{name}: new work again, s", took_s, target="database")
        for sentence in await campaign.eye.half_states():
            campaign.wrong(f"after {name}: {sentence}")
        campaign.over(name, "database", trial)


async def _db_kill(campaign: Campaign) -> None:
    postgresql = campaign.deployment.postgresql
    await asyncio.to_thread(postgresql.kill)
    await asyncio.sleep(campaign.rng.uniform(0, 2))
    await asyncio.to_thread(postgresql.start)


async def _db_restart(campaign: Campaign) -> None:
    await asyncio.to_thread(campaign.deployment.postgresql.restart)


async def _db_freeze(campaign: Campaign) -> None:
    campaign.deployment.postgresql.pause()
    await asyncio.sleep(campaign.rng.uniform(1, 7))
    campaign.deployment.postgresql.unpause()


async def _db_cut(campaign: Campaign) -> None:
    """Lose all packets between one or all desks and the database, long enough for its transactions to be ended."""
    deployment = campaign.deployment
    desks = campaign.rng.choice([deployment.desks, deployment.desks[:1], deployment.desks[-1:]])
    for desk in desks:
        await asyncio.to_thread(desk.block, deployment.servers.address, deployment.postgresql.port)
    await asyncio.sleep(campaign.rng.uniform(2, 9))
    for desk in desks:
        await asyncio.to_thread(desk.heal)


async def _db_hang_up(campaign: Campaign) -> None:
    """End all its sessions, in the middle of what they do."""
    for _ in range(5):
        await campaign.eye.rows(_HANG_UP)
        await asyncio.sleep(campaign.rng.uniform(0.05, 0.3))


DATABASE_STRIKES: list[Callable[[Campaign], Awaitable[None]]] = [
    _db_kill,
    _db_restart,
    _db_freeze,
    _db_cut,
    _db_hang_up,
]
