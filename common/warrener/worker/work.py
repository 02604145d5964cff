"""What a worker knows about the deliveries and attempts in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from warrener.broker import Delivery, Subscription
from warrener.ids import AttemptRef
from warrener.messages import Order
from warrener.performer import Assignment
from warrener.worker.endings import Ending


@dataclass(slots=True, eq=False)
class Bundle:
    """A delivery of orders; settled when nothing depends on it any more, or given back whole."""

    delivery: Delivery
    subscription: Subscription
    home: int
    """The shard that its reports go to: one of whoever sent it."""
    direct: bool
    left: int
    """Orders that still need the delivery."""
    begun: bool = False
    returned: bool = False


async def finish(bundles: Iterable[Bundle]) -> None:
    """Note that one order of each bundle is done with, and settle the bundles that are done."""
    done: list[Bundle] = []
    for bundle in bundles:
        bundle.left -= 1
        if bundle.left == 0 and not bundle.returned:
            done.append(bundle)
    for subscription, deliveries in _by_subscription(done):
        await subscription.settle(deliveries)


async def give_back(bundles: Iterable[Bundle]) -> None:
    """Return deliveries to their queue; whoever takes them next finds them marked, and claims."""
    some = [bundle for bundle in bundles if not bundle.returned and bundle.left > 0]
    for bundle in some:
        bundle.returned = True
    for subscription, deliveries in _by_subscription(some):
        await subscription.give_back(deliveries)


def _by_subscription(bundles: list[Bundle]) -> Iterator[tuple[Subscription, list[Delivery]]]:
    while bundles:
        subscription = bundles[0].subscription
        yield subscription, [bundle.delivery for bundle in bundles if bundle.subscription is subscription]
        bundles = [bundle for bundle in bundles if bundle.subscription is not subscription]


class Waiting(NamedTuple):
    """An order that waits for a slot."""

    order: Order
    bundle: Bundle
    ref: AttemptRef


@dataclass(slots=True, eq=False)
class Work:
    """One attempt in a worker's hands, from its start until its report is safe or it is dropped."""

    assignment: Assignment
    ref: AttemptRef
    began_s: float
    """On the loop's clock."""
    claimed: bool
    bundles: list[Bundle] = field(default_factory=list)
    """Deliveries that wait for its report: that of its order, and copies of it."""
    fence_from_s: float = 0.0
    """On the boot clock: before this it is not fenced (a recovered attempt may still be joined to its end)."""
    recovered: bool = False
    """An earlier life began it: something may run for it before it is performed here."""
    asking: bool = False
    """A direct call has run long and asks for its lease; its report waits for the answer."""
    task: asyncio.Task[None] | None = None
    """What performs it now."""
    interrupted: bool = False
    """Its task was cancelled on purpose, for the stop reason of the assignment."""
    timed_out: bool = False
    ending: Ending | None = None
    over: bool = False
    """It was performed to its end, or dropped."""

    @property
    def order(self) -> Order:
        return self.assignment.order

    def stop(self, reason: Literal["cancelled", "not yours"]) -> None:
        """Have the performer end it, with everything that runs for it."""
        self.assignment.stop = reason
        if self.task is not None and not self.interrupted:
            self.interrupted = True
            self.task.cancel()
