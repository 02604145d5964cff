"""What the schedulers tell one another of their demand: saying it after a tick, and hearing it beside the ticks.

A word that is heard costs no transaction. It counts from the next tick on: who has tasks in flight has one soon.
"""

from __future__ import annotations

import asyncio

import structlog

from warrener.broker import Broker, Queue
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, InvalidMessage
from warrener.messages import Demand, LaneDemand, decode

from .peers import AT_ONCE, TELL_EVERY, Peers
from .tick import Tick

log = structlog.get_logger(__name__)

_PREFETCH = 100
_AGAIN_S = 1.0


async def listen(broker: Broker, queue: Queue, peers: Peers, clock: Clock) -> None:
    """Hear what the others want, for ever."""
    while True:
        try:
            subscription = await broker.subscribe([queue], prefetch=_PREFETCH)
        except BrokerUnavailable:
            await asyncio.sleep(_AGAIN_S)  # the scheduler's own subscription tells of it
            continue
        try:
            while True:
                deliveries = await subscription.take(_PREFETCH)
                for delivery in deliveries:
                    try:
                        peers.hear(decode(delivery.kind, delivery.body, Demand), clock.now())
                    except InvalidMessage as error:
                        log.warning("dropped what is no demand", reason=str(error), kind=delivery.kind)
                await subscription.settle(deliveries)
        finally:
            await subscription.close()


def tell(tick: Tick) -> None:
    """Say what we want of each lane, if it is time and somebody listens."""
    peers = tick.book.peers
    since = peers.since_told(tick.now)
    if not peers.others or since < AT_ONCE:
        return
    lanes = _lanes(tick)
    turned = peers.turned(lanes)
    idle = not lanes and not turned  # who is not heard of wants nothing
    if idle or (since < TELL_EVERY and not any(_matters(tick, lane, lanes) for lane in turned)):
        return
    used = {worker: slots for worker, slots in tick.book.used.items() if slots > 0}
    tick.out.hint("demand", Demand(scheduler=peers.name, lanes=lanes, used=used))
    peers.told(lanes, tick.now)


def _lanes(tick: Tick) -> dict[str, LaneDemand]:
    book = tick.book
    found: dict[str, LaneDemand] = {}
    for lane in book.lanes.keys() | book.windows.keys():
        window = book.windows.get(lane)
        demand = LaneDemand(
            in_flight=max(0, book.lanes[lane].in_flight if lane in book.lanes else 0),
            ready=len(window) if window is not None else 0,
        )
        if demand.total:
            found[lane] = demand
    return found


def _matters(tick: Tick, lane: str, lanes: dict[str, LaneDemand]) -> bool:
    """Tell whether a turn changes what others may take: the lane has fewer slots than are wanted."""
    peers = tick.book.peers
    own = max(peers.had(lane), lanes[lane].total if lane in lanes else 0)
    slots = sum(worker.slots for worker in tick.book.fleet.of_lane(lane, tick.now))
    slots += tick.book.fleet.taken_beyond(lane, tick.book.used, tick.now)
    return peers.others_want(lane, tick.now) + own > slots
