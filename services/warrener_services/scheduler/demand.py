"""What the schedulers tell of their demand: saying it after a tick, and hearing it beside the ticks.

A word that is heard costs no transaction. It counts from the next tick on: who has tasks in flight has one soon.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import structlog

from warrener.broker import Broker, Queue
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, InvalidMessage
from warrener.messages import Demand, LaneDemand, decode

from .handlers import SITE_BOUND
from .peers import AGAIN_EVERY, ALONE_EVERY, AT_ONCE, TELL_EVERY, Peers
from .tick import Tick

log = structlog.get_logger(__name__)

_PREFETCH = 100
_AGAIN_S = 1.0
_BOUND = frozenset(kind.value for kind in SITE_BOUND)


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
    """Say what we want of each lane, if it is time; an engine without a name, as in a test, has nobody to say it as."""
    peers = tick.book.peers
    since = peers.since_told(tick.now)
    if not peers.name or since < (AT_ONCE if peers.others else ALONE_EVERY):
        return
    lanes = _lanes(tick)
    if since < AGAIN_EVERY and not (_worth_sharing(tick, lanes, since) if peers.others else not peers.has_told(lanes)):
        return
    used = {worker: slots for worker, slots in tick.book.used.items() if slots > 0} if peers.others else {}
    slots = dict(tick.book.fleet.slots(tick.now))
    heaviest = _heaviest(tick)
    described = {lane: _described(tick, lane, demand, heaviest.get(lane, 1)) for lane, demand in lanes.items()}
    tick.out.hint("demand", Demand(scheduler=peers.name, lanes=described, used=used, slots=slots))
    peers.told(lanes, tick.now)


def _worth_sharing(tick: Tick, lanes: dict[str, LaneDemand], since: timedelta) -> bool:
    """Tell whether the other schedulers need to know, for sharing slots with us."""
    turned = tick.book.peers.turned(lanes)
    if not lanes and not turned:
        return False  # who is not heard of wants nothing
    return since >= TELL_EVERY or any(_matters(tick, lane, lanes) for lane in turned)


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


def _heaviest(tick: Tick) -> dict[str, int]:
    """Return the most slots that a task in flight takes, of each lane that has one of several."""
    found: dict[str, int] = {}
    for row in tick.book.in_flight.values():
        if row.weight > 1:
            found[row.lane] = max(row.weight, found.get(row.lane, 1))
    return found


def _described(tick: Tick, lane: str, demand: LaneDemand, heaviest: int) -> LaneDemand:
    """Add what whoever gives slots to a lane wants to know of it."""
    book = tick.book
    load, window = book.lanes.get(lane), book.windows.get(lane, ())
    sites: Counter[str] = Counter()
    queued, oldest = 0, tick.now
    for row in window:
        queued += row.weight
        heaviest = max(heaviest, row.weight)
        oldest = min(oldest, row.ready_at or tick.now)
        if (site := book.sites.get(row.run)) is not None and lane in _BOUND:
            sites[site] += row.weight
    return demand.model_copy(
        update={
            "queued": queued,
            "sites": dict(sites),
            "heaviest": heaviest,
            "oldest_s": (tick.now - oldest).total_seconds(),
            "mean_s": load.typical_s if load else 0.0,
        }
    )


def _matters(tick: Tick, lane: str, lanes: dict[str, LaneDemand]) -> bool:
    """Tell whether a turn changes what others may take: the lane has fewer slots than are wanted."""
    peers = tick.book.peers
    own = max(peers.had(lane), lanes[lane].total if lane in lanes else 0)
    slots = sum(worker.slots for worker in tick.book.fleet.of_lane(lane, tick.now))
    slots += tick.book.fleet.taken_beyond(lane, tick.book.used, tick.now)
    return peers.others_want(lane, tick.now) + own > slots
