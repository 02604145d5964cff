"""The best of the ready tasks of one lane, kept in memory; the rest stays in the store.

Memory is bounded however many tasks are ready: beyond `capacity` the window spills, remembers the turn of its last
row, and is refilled from the store, in the same order, when it runs low.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence

from warrener.ids import TaskRef
from warrener.ordering import Turn
from warrener.states import State
from warrener.store import TaskRow

CAPACITY = 2_000


def turn_of(row: TaskRow) -> Turn:
    """Return the place of a ready row in the order."""
    assert row.ready_at is not None
    return Turn(row.level, row.deadline_at, row.minus_path_s, row.ready_at, row.run, row.n)


_Entry = tuple[Turn, int, TaskRow]


class Window:
    """Ready rows in their order."""

    def __init__(self, capacity: int = CAPACITY, *, spilled: bool = False) -> None:
        self._capacity = capacity
        self._heap: list[_Entry] = []  # also holds entries that were replaced or discarded, for a while
        self._rows: dict[TaskRef, _Entry] = {}
        self._numbers = itertools.count()  # two rows of one task, old and new, may have the same turn
        self._spilled = spilled  # the store may have ready rows that are not here
        self._stale = False
        self._bound: Turn | None = None  # of the last row that was here when it spilled

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[TaskRow]:
        """Go through the rows that are here, in no order."""
        return (entry[2] for entry in self._rows.values())

    def __contains__(self, ref: TaskRef) -> bool:
        return ref in self._rows

    @property
    def spent(self) -> bool:
        """Whether no task of the lane is ready, here or in the store."""
        return not self._rows and not self._spilled

    @property
    def low(self) -> bool:
        """Whether the store should be asked for more, or anew."""
        return self._stale or (self._spilled and len(self._rows) <= self._capacity // 4)

    def overtaken(self) -> None:
        """Note that rows were lifted in the store, here or from behind: ask anew for the first ones."""
        self._stale = True

    def push(self, row: TaskRow) -> Sequence[TaskRow]:
        """Add a ready row, or move one to its new turn; return the rows that are kept in the store alone now."""
        if self._spilled and self._bound is not None and turn_of(row) > self._bound:
            self._rows.pop(row.ref, None)
            return [row]
        self._add(row)
        if len(self._rows) > 2 * self._capacity:
            return self._spill()
        if len(self._heap) > 4 * self._capacity:
            self._sweep()
        return []

    def refill(self, rows: Sequence[TaskRow], limit: int) -> Sequence[TaskRow]:
        """Take the first `limit` ready rows of the store; return the rows that are in the store alone now."""
        new = {row.ref for row in rows}
        gone = [row for ref, (_, _, row) in self._rows.items() if ref not in new]
        self._spilled, self._stale = len(rows) >= limit, False
        self._bound = turn_of(rows[-1]) if self._spilled else None
        self._rows = {row.ref: self._entry(row) for row in rows}
        self._sweep()
        return gone

    def pop(self) -> TaskRow | None:
        """Take out the first row; None when there is none."""
        while self._heap:
            entry = heapq.heappop(self._heap)
            row = entry[2]
            if self._rows.get(row.ref) is entry:
                del self._rows[row.ref]
                if row.state is State.READY:
                    return row
        return None

    def put_back(self, rows: Iterable[TaskRow]) -> None:
        """Return rows that were popped and could not be placed."""
        for row in rows:
            self._add(row)

    def discard(self, ref: TaskRef) -> None:
        self._rows.pop(ref, None)

    def _entry(self, row: TaskRow) -> _Entry:
        return turn_of(row), next(self._numbers), row

    def _add(self, row: TaskRow) -> None:
        entry = self._rows[row.ref] = self._entry(row)
        heapq.heappush(self._heap, entry)

    def _sweep(self) -> None:
        """Drop the entries that count no more."""
        self._heap = list(self._rows.values())
        heapq.heapify(self._heap)

    def _spill(self) -> Sequence[TaskRow]:
        live = sorted(self._rows.values())
        kept, dropped = live[: self._capacity], live[self._capacity :]
        self._heap = kept
        self._rows = {entry[2].ref: entry for entry in kept}
        self._spilled = True
        self._bound = kept[-1][0]
        return [row for _, _, row in dropped]
