"""Poison: a task that workers die of is not given to one worker after another for ever.

A *death* is the end of a worker's life while it held an attempt: its lease ran out in silence while other workers were
heard, or the worker came back as another life without having said that it leaves. What was there with it may have died
innocently, so nobody is accused at once:

1. From its first death on, a task travels alone, to one worker, and is claimed: it is known where it is.
2. With two deaths it is a *suspect*, and no host gets two suspects at a time. So whoever was merely near is told from
   the culprit: it is no longer near, and succeeds.
3. With three deaths of three lives it is *poison* and has failed, unless another suspect was lost with it on that host,
   or several workers of that host were lost at a time together with other work: then the host may be to blame.

A life that is heard of again was not dead, and its deaths are forgotten. So a broker that is away, a frozen worker and
a cut cable kill nobody. What a person retries begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from warrener.errors import Cause
from warrener.ids import BootId, TaskRef
from warrener.states import HELD, Move
from warrener.store import Death, TaskRow

from .fleet import Worker
from .tick import Tick
from .troubles import worker_died

SUSPECT = 2
POISON = 3
"""How many deaths make a suspect, and how many poison."""

_OTHERS_HEARD = timedelta(seconds=20)
_SILENCE = 0.6
"""Which part of a lease a worker must have been silent for to count as dead; it beats every third of it."""


def is_dead(tick: Tick, row: TaskRow) -> bool:
    """Tell whether the life that held an attempt is over, as far as can be known, and not only out of reach for us."""
    worker = tick.book.fleet.get(row.worker or "")
    if worker is not None and worker.boot != row.boot:
        return True
    silent = tick.rules.lease_of(row) * _SILENCE
    if worker is not None and tick.now - worker.seen_at < silent:
        return False
    return any(tick.now - other.seen_at < min(silent, _OTHERS_HEARD) for other in tick.book.fleet)


def note_death(tick: Tick, row: TaskRow) -> bool:
    """Note that the holder of an attempt died; tell whether that made the task poison, and ended it."""
    assert row.worker is not None
    assert row.boot is not None
    death = Death(row.run, row.n, row.attempt, row.shard, row.worker, row.boot, tick.now)
    company = _company(tick, row)
    worker_died(tick, row.worker, row.boot, company)
    deaths = tick.book.deaths.setdefault(row.ref, [])
    deaths.append(death)
    tick.deaths.append(death)
    if len({one.boot for one in deaths}) < POISON or _others_may_be_to_blame(tick, row, company):
        return False
    names = ", ".join(dict.fromkeys(one.worker for one in deaths))
    told = f"workers died {len(deaths)} times while they did this ({names}); it is not tried again by itself"
    tick.move(row, Move.FAIL, cause=Cause.POISON, message=told)
    return True


def is_suspect(tick: Tick, row: TaskRow) -> bool:
    """Tell whether workers died of a task so often that it must be kept from other suspects."""
    return len(tick.book.deaths.get(row.ref, ())) >= SUSPECT


def without_suspects(tick: Tick, workers: Sequence[Worker]) -> list[Worker]:
    """Return the workers whose hosts have no suspect now."""
    book = tick.book
    taken = set()
    for ref, deaths in book.deaths.items():
        row = book.in_flight.get(ref)
        if row is not None and row.worker is not None and len(deaths) >= SUSPECT:
            worker = book.fleet.get(row.worker)
            taken.add(worker.host if worker else row.worker)
    return [worker for worker in workers if worker.host not in taken]


def heard_again(tick: Tick, boot: BootId) -> None:
    """Forget the deaths of a life that is heard of."""
    book = tick.book
    dead = [ref for ref, deaths in book.deaths.items() if any(one.boot == boot for one in deaths)]
    for ref in dead:
        left = [one for one in book.deaths[ref] if one.boot != boot]
        if left:
            book.deaths[ref] = left
        else:
            del book.deaths[ref]
    if dead:
        tick.returned.append(boot)


def _company(tick: Tick, row: TaskRow) -> set[TaskRef]:
    """Return what the same life held, as far as we own it."""
    assert row.boot is not None
    company = tick.companies.get(row.boot)
    if company is None:  # once in a tick: a life may have held thousands
        held = {other.ref for other in tick.book.in_flight.values() if other.boot == row.boot}
        died = {ref for ref, some in tick.book.deaths.items() if any(one.boot == row.boot for one in some)}
        company = tick.companies[row.boot] = held | died
    return company


def _beside(tick: Tick, row: TaskRow) -> set[TaskRef]:
    """Return what other workers of the same host hold that have been silent for as long."""
    worker = tick.book.fleet.get(row.worker or "")
    if worker is None:
        return set()
    since = tick.now - tick.rules.lease_of(row) * _SILENCE
    silent = {
        other.name
        for other in tick.book.fleet
        if other.host == worker.host and other.name != worker.name and other.seen_at <= since
    }
    return {other.ref for other in tick.book.in_flight.values() if other.state in HELD and other.worker in silent}


def _others_may_be_to_blame(tick: Tick, row: TaskRow, company: set[TaskRef]) -> bool:
    before = (tick.book.deaths.get(ref, ()) for ref in company if ref != row.ref)
    return any(sum(one.boot != row.boot for one in deaths) >= SUSPECT for deaths in before) or bool(_beside(tick, row))
