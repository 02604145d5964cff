"""Queues that are gone, and what was in them: orders that nobody has begun are placed anew, some at a time.

A broker can lose its queues: somebody deletes them, or it comes back empty. The order's time-out would mend it, after
a minute and all at once; this mends it when it is known. What was not lost and is placed anew all the same does no
harm: an order that is superseded is refused to whoever claims it, and a direct call may run twice, as after any crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from warrener.ids import TaskRef
from warrener.states import Move, State
from warrener.store import TaskRow
from warrener.topology import orders, reports

if TYPE_CHECKING:
    from .tick import Tick

log = structlog.get_logger(__name__)

RECALLED_A_TICK = 500


class Lost:
    """What is known to be lost, and the attempts that have to be placed anew for it."""

    def __init__(self) -> None:
        self._queues: dict[str, datetime] = {}
        self._known: dict[str, datetime] = {}
        self._attempts: dict[tuple[TaskRef, int], None] = {}  # each once, however many queues tell of it

    def __bool__(self) -> bool:
        return bool(self._queues or self._attempts)

    def add(self, queue: str, before: datetime) -> None:
        """Note that what was sent to a queue before this is gone: orders, or reports about a shard's attempts."""
        self._queues[queue] = self._known[queue] = max(before, self._known.get(queue, before))

    def again(self) -> None:
        """Look once more at all that is known to be gone: what was taken may not have been written."""
        self._queues.update(self._known)

    def forget(self, before: datetime) -> None:
        """Forget what was lost long ago."""
        self._known = {queue: at for queue, at in self._known.items() if at >= before}

    def take(self, in_flight: Iterable[TaskRow], limit: int) -> list[tuple[TaskRef, int]]:
        """Return some of the attempts whose order, or whose report, was in one of these queues."""
        if self._queues:
            found = [(row.ref, row.attempt) for row in in_flight if self._holds(row)]
            if found:
                log.warning(
                    "queues are gone; placing anew what was ordered and not begun",
                    queues=len(self._queues), for_example=min(self._queues), orders=len(found),
                )  # fmt: skip
            self._queues.clear()
            self._attempts.update(dict.fromkeys(found))
        taken = list(islice(self._attempts, limit))
        for attempt in taken:
            del self._attempts[attempt]
        return taken

    def _holds(self, row: TaskRow) -> bool:
        if row.state is not State.ORDERED or row.ordered_at is None:
            return False
        lane = row.lane if row.worker is None else f"worker.{row.worker}"
        lost_at = (self._queues.get(orders(lane).name), self._queues.get(reports(row.shard).name))
        return any(at is not None and row.ordered_at < at for at in lost_at)


def recall(tick: Tick) -> None:
    """Place some of what was lost anew; look again at once while there is more."""
    lost = tick.book.lost
    if not lost:
        return
    for ref, attempt in lost.take(tick.book.in_flight.values(), RECALLED_A_TICK):
        row = tick.book.in_flight.get(ref)
        if row is not None and row.attempt == attempt and row.state is State.ORDERED:
            tick.doing = ref
            tick.make_ready(row, Move.PLACE_ANEW)
    tick.doing = None
    if lost:
        tick.book.look_by(tick.now)
