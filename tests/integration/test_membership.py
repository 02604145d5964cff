"""From a real agent to what the scheduler knows: joins, failures, tags and leaves arrive, each in its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from fleet.serf import SerfAgent
from warrener.brokers.memory import MemoryBroker
from warrener.gossips import open_gossip
from warrener.ids import WorkerName
from warrener.messages import Heartbeat, Kind, Members, decode
from warrener.tags import WorkerTag
from warrener.topology import control
from warrener.worker.beacon import Beacon
from warrener_services.gateway.roll import Roll
from warrener_services.gossip.service import GossipService
from warrener_services.scheduler.fleet import Fleet

pytestmark = [pytest.mark.serf, pytest.mark.slow]

FAILURE_KNOWN_WITHIN_S = 15.0
BACK_WITHIN_S = 60.0
NEWS_WITHIN_S = 8.0


class Listener:
    """Hears what the program `gossip` publishes, as a scheduler and a gateway do."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.fleet, self.roll = Fleet(), Roll()
        self._broker = broker
        self._heard = asyncio.Condition()

    def beat(self, member: str) -> None:
        """Have a worker beside this member speak now."""
        beat = Heartbeat(
            worker="job-a", boot="b1", seq=1, task_kind=Kind.JOB, site="local", host="h", member=member, slots=4, free=4
        )
        self.fleet.hear(beat, datetime.now(UTC))
        self.roll.hear(beat, datetime.now(UTC))

    async def listen(self) -> None:
        ear = await self._broker.subscribe([control("scheduler-1", "member")], prefetch=100)
        while True:
            deliveries = await ear.take(100)
            async with self._heard:
                for delivery in deliveries:
                    message = decode(delivery.kind, delivery.body, Members)
                    self.fleet.gossip(message, datetime.now(UTC))
                    self.roll.hear_gossip(message, datetime.now(UTC))
                self._heard.notify_all()
            await ear.settle(deliveries)

    async def until(self, condition: Callable[[], object], *, within_s: float) -> float:
        """Wait for something to become known; return how long that took."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.timeout(within_s), self._heard:
            await self._heard.wait_for(condition)
        return loop.time() - began_s

    def status(self, member: str) -> str | None:
        return next((one.status for one in self.roll.members(datetime.now(UTC)) if one.name == member), None)


@asynccontextmanager
async def listener_at(url: str) -> AsyncIterator[Listener]:
    gossip, broker = open_gossip(url), MemoryBroker()
    listener = Listener(broker)
    service = GossipService(gossip=gossip, broker=broker, who="gossip-1", rng=Random(1), first_pause_s=0.05)
    tasks = [asyncio.create_task(listener.listen()), asyncio.create_task(service.run())]
    try:
        yield listener
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await broker.close()
        await gossip.close()


async def test_joins_failures_tags_and_leaves_reach_the_scheduler_in_time(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with AsyncExitStack() as stack:
        agents = [SerfAgent(tmp_path, name) for name in ("hare", "doe", "buck")]
        for number, agent in enumerate(agents):
            if number:
                agent._more["start_join"] = [agents[0].address]
            stack.push_async_callback(asyncio.to_thread, agent.stop)
        await asyncio.to_thread(agents[0].start)
        listener = await stack.enter_async_context(listener_at(agents[0].rpc_url))
        for agent in agents[1:]:
            await asyncio.to_thread(agent.start)
        took = {"join": await listener.until(lambda: listener.status("doe") == "alive", within_s=NEWS_WITHIN_S)}
        listener.beat("doe")

        beside = open_gossip(agents[1].rpc_url)
        tag = [WorkerTag(Kind.JOB, "up", "b1", 4, 4, site="local", load=0.0)]
        beacon = asyncio.create_task(Beacon(beside, WorkerName("job-a"), lambda: tag[0]).run())

        def free() -> int | None:
            (worker,) = listener.roll.call(datetime.now(UTC))
            return None if worker.tag is None else worker.tag.free

        await listener.until(lambda: free() == 4, within_s=NEWS_WITHIN_S)
        tag[0] = WorkerTag(Kind.JOB, "up", "b1", 1, 4, site="local", load=0.9)
        took["tag"] = await listener.until(lambda: free() == 1, within_s=NEWS_WITHIN_S + 5)
        beacon.cancel()
        await asyncio.wait([beacon])
        await beside.close()

        agents[1].kill()
        took["failed"] = await listener.until(
            lambda: listener.fleet.lost() == {"job-a"}, within_s=FAILURE_KNOWN_WITHIN_S
        )
        assert listener.fleet.of_lane("job", datetime.now(UTC)) == []
        listener.beat("doe")  # it lives, whatever gossip says
        assert listener.fleet.lost() == set()
        assert listener.status("doe") == "failed"

        await asyncio.to_thread(agents[1].start)
        took["back"] = await listener.until(lambda: listener.status("doe") == "alive", within_s=BACK_WITHIN_S)

        listener.beat("buck")
        await asyncio.to_thread(agents[2].stop)
        took["left"] = await listener.until(lambda: listener.status("buck") == "left", within_s=NEWS_WITHIN_S)
        assert listener.fleet.lost() == set(), "who leaves as planned has not failed"
        for what, seconds in took.items():
            record_property(what, round(seconds, 1))


async def test_a_frozen_host_fails_and_comes_back_by_itself(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = SerfAgent(tmp_path, "hare")
        stack.push_async_callback(asyncio.to_thread, first.stop)
        await asyncio.to_thread(first.start)
        listener = await stack.enter_async_context(listener_at(first.rpc_url))
        second = SerfAgent(tmp_path, "doe", join=first.address)
        stack.push_async_callback(asyncio.to_thread, second.stop)
        await asyncio.to_thread(second.start)
        await listener.until(lambda: listener.status("doe") == "alive", within_s=NEWS_WITHIN_S)
        listener.beat("doe")
        second.pause()
        await listener.until(lambda: listener.fleet.lost() == {"job-a"}, within_s=FAILURE_KNOWN_WITHIN_S)
        second.unpause()
        await listener.until(lambda: listener.status("doe") == "alive", within_s=BACK_WITHIN_S)
        assert listener.fleet.lost() == set()
