"""How many of its slots each worker may fill: what people drained, and which hosts are in the penalty box.

The store has it, and every scheduler reads it once a second. A worker says in its heartbeats which limit it obeys. One
that should obey another is told, but only right after a look into the store: two schedulers that have not looked at the
same time would tell it one thing and the other in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from warrener.messages import Limit
from warrener.penalties import Penalty, slots_left
from warrener.states import Move, State
from warrener.store import Drain

if TYPE_CHECKING:
    from .fleet import Worker
    from .tick import Tick

LOOK_EVERY = timedelta(seconds=1)
_TELL_AGAIN = timedelta(seconds=2)

NONE = Limit()


@dataclass(slots=True)
class Limits:
    """Drains by what and name, penalties by host, as they were at the last look."""

    drains: dict[tuple[str, str], Drain] = field(default_factory=dict)
    penalties: dict[str, Penalty] = field(default_factory=dict)
    looked_at: datetime | None = None
    doubted: bool = True
    """Whether somebody obeys what we know nothing of: look before the time."""
    told: dict[str, tuple[int | None, datetime]] = field(default_factory=dict)

    def drain_of(self, name: str, host: str) -> Drain | None:
        return self.drains.get(("worker", name)) or self.drains.get(("host", host))

    def of(self, worker: Worker, now: datetime, alone: Callable[[Worker], bool]) -> Limit:
        """Return the limit of a worker; `alone` tells whether no other host could do its work."""
        drain = self.drain_of(worker.name, worker.host)
        if drain is not None:
            return Limit(slots=0, reason=f"drained by {drain.by}" + (f": {drain.reason}" if drain.reason else ""))
        penalty = self.penalties.get(worker.host)
        if penalty is None:
            return NONE
        slots = slots_left(penalty, worker.whole, now, alone=alone(worker))
        return NONE if slots is None else Limit(slots=slots, reason=f"the penalty box: {penalty.reason}")


def look_at_limits(tick: Tick) -> None:
    """Read drains and penalties if it is time, and tell the workers that obey something else."""
    fleet = tick.book.fleet
    limits = fleet.limits
    if not limits.doubted and limits.looked_at is not None and tick.now - limits.looked_at < LOOK_EVERY:
        return
    limits.looked_at, limits.doubted = tick.now, False
    limits.drains = {(drain.what, drain.name): drain for drain in tick.tx.restraints.drains()}
    limits.penalties = tick.with_own_penalties({one.host: one for one in tick.tx.restraints.penalties()})
    for penalty in [one for one in limits.penalties.values() if one.lapsed(tick.now)]:
        tick.clear_penalty(penalty.host)
    closed = fleet.restrain(tick.now)
    if closed:
        _recall(tick, closed)
    _tell(tick)


def _recall(tick: Tick, workers: set[str]) -> None:
    """Give to others what was meant for a worker that takes nothing any more, and what it has not claimed."""
    for row in list(tick.book.in_flight.values()):
        if row.state is State.ORDERED and row.worker in workers:
            tick.make_ready(row, Move.PLACE_ANEW)


def _tell(tick: Tick) -> None:
    limits = tick.book.fleet.limits
    disobedient = {worker.name: worker for worker in tick.book.fleet if worker.limit.slots != worker.obeys}
    limits.told = {name: told for name, told in limits.told.items() if name in disobedient}
    for name, worker in disobedient.items():
        wanted, (slots, at) = worker.limit, limits.told.get(name, (-1, tick.now))
        if slots != wanted.slots or tick.now - at >= _TELL_AGAIN:
            tick.out.tell(name, worker.boot).limit = wanted
            limits.told[name] = wanted.slots, tick.now
