"""`gossip`: agents freeze, die, are split from one another, and lie; no live attempt may be taken away for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from fleet.hosts import Host
from warrener.messages import Members, MemberSeen, decode, encode
from warrener.serfrpc import SerfClient, SerfError
from warrener.topology import CONTROL

from .campaign import Campaign

_SEEN_WITHIN_S = 30.0


@dataclass(slots=True)
class _Rumours:
    """What travels on the broker about members: how often each was said to fail, lies not counted."""

    exchange: aio_pika.abc.AbstractExchange
    status: dict[str, str] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)

    def heed(self, message: AbstractIncomingMessage) -> None:
        if message.type != Members.KIND or message.message_id == "a-lie":
            return
        for member in decode(Members.KIND, message.body, Members).members:
            if member.status in ("failed", "left") and self.status.get(member.name) == "alive":
                self.gone[member.name] = self.gone.get(member.name, 0) + 1
            self.status[member.name] = member.status

    async def tell(self, body: Members) -> None:
        message = aio_pika.Message(encode(body), type=Members.KIND, message_id="a-lie")
        await self.exchange.publish(message, "member", mandatory=False)


async def gossip(campaign: Campaign) -> None:
    """Let members seem to go and come, by every way there is; each of them each time is a flap."""
    ways: list[Callable[[Campaign, _Rumours, list[Host]], Awaitable[None]]] = [_split, _freeze, _kill, _force, _lie]
    left, number = campaign.trials(200, 6), 0
    async with _listening(campaign) as rumours:
        while left > 0:
            way = ways[number % len(ways)]
            number += 1
            name = way.__name__.strip("_")
            hosts = campaign.rng.sample(campaign.deployment.meadows, min(left, _most(campaign, name)))
            before = sum(rumours.gone.values())
            trial = campaign.begins(name, ", ".join(host.name for host in hosts))
            unreachable = asyncio.create_task(_most_unreachable(campaign))
            await way(campaign, rumours, hosts)
            unreachable.cancel()
            flaps = len(hosts) if name == "lie" else sum(rumours.gone.values()) - before
            left -= max(flaps, 1)
            campaign.figure(f"{name}: members seen to go", flaps, target=name)
            campaign.over(name, name, trial, trials=flaps)
            await asyncio.sleep(campaign.rng.uniform(1, 2))


def _most(campaign: Campaign, way: str) -> int:
    """Return how many hosts take part: if most agents are away at once, the others do not agree on that."""
    meadows = len(campaign.deployment.meadows)
    return max(1, meadows // 2) if way in ("freeze", "kill", "split") else meadows


async def _split(campaign: Campaign, rumours: _Rumours, hosts: list[Host]) -> None:
    """Cut agents off from all others; workers and their broker see nothing of it."""
    for host in hosts:
        await asyncio.to_thread(host.block_port, campaign.deployment.agents[host.name].port)
    await _until_seen(campaign, rumours, hosts, "failed")
    for host in hosts:
        await asyncio.to_thread(host.heal)
    await _until_seen(campaign, rumours, hosts, "alive")


async def _freeze(campaign: Campaign, rumours: _Rumours, hosts: list[Host]) -> None:
    for host in hosts:
        campaign.deployment.agents[host.name].pause()
    await _until_seen(campaign, rumours, hosts, "failed")
    for host in hosts:
        campaign.deployment.agents[host.name].unpause()
    await _until_seen(campaign, rumours, hosts, "alive")


async def _kill(campaign: Campaign, rumours: _Rumours, hosts: list[Host]) -> None:
    for host in hosts:
        await asyncio.to_thread(campaign.deployment.agents[host.name].kill)
    await _until_seen(campaign, rumours, hosts, "failed")
    for host in hosts:
        await asyncio.to_thread(campaign.deployment.agents[host.name].start)
    await _until_seen(campaign, rumours, hosts, "alive")


async def _force(campaign: Campaign, rumours: _Rumours, hosts: list[Host]) -> None:
    """Have one agent say of members that they left; they object."""
    agent = campaign.deployment.agents[campaign.deployment.desks[0].name]
    for host in hosts:
        try:
            async with asyncio.timeout(5):
                async with await SerfClient.connect(
                    agent.place.address, agent.rpc_port, auth_key=agent.rpc_auth
                ) as serf:
                    await serf.force_leave(host.name)
        except (SerfError, TimeoutError, OSError):
            continue
    await asyncio.sleep(1)
    await _until_seen(campaign, rumours, hosts, "alive")


async def _lie(campaign: Campaign, rumours: _Rumours, hosts: list[Host]) -> None:
    """Say on the broker that members failed, again and again, as a compromised member of the fleet could."""
    for _ in range(5):
        await rumours.tell(Members(members=[MemberSeen(name=host.name, status="failed") for host in hosts]))
        await asyncio.sleep(campaign.rng.uniform(0.2, 1))
    await rumours.tell(Members(members=[], full=True))


async def _until_seen(campaign: Campaign, rumours: _Rumours, hosts: list[Host], status: str) -> None:
    async def seen() -> bool:
        return all((rumours.status.get(host.name) == "alive") is (status == "alive") for host in hosts)

    await campaign.until(seen, within_s=_SEEN_WITHIN_S)


async def _most_unreachable(campaign: Campaign) -> None:
    """Watch how many tasks the hint marks; written down when the watch is over, so that it is known to have worked."""
    most = 0
    try:
        while True:
            most = max(most, await campaign.eye.count("SELECT count(*) FROM tasks WHERE state = 'unreachable'") or 0)
            await asyncio.sleep(0.3)
    finally:
        campaign.figure("tasks marked unreachable", most, target="gossip")


@asynccontextmanager
async def _listening(campaign: Campaign) -> AsyncIterator[_Rumours]:
    connection = await aio_pika.connect(campaign.deployment.rabbitmq.url)
    async with connection:
        channel = await connection.channel(on_return_raises=False)
        rumours = _Rumours(await channel.get_exchange(CONTROL, ensure=False))
        queue = await channel.declare_queue("chaos-rumours", exclusive=True)
        await queue.bind(CONTROL, "member")

        async def on_message(message: AbstractIncomingMessage) -> None:
            rumours.heed(message)

        await queue.consume(on_message, no_ack=True)
        meadows = campaign.deployment.meadows

        async def all_known() -> bool:
            return all(rumours.status.get(host.name) == "alive" for host in meadows)

        if await campaign.until(all_known, within_s=30) is None:
            campaign.wrong("gossip does not say that every host is alive, before anything was done to it")
        yield rumours
