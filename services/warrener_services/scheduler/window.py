"""The best of the ready tasks of one lane, kept in memory; the rest stays in the store.

Memory is bounded however many tasks are ready: beyond `capacity` the window spills, remembers the turn of its last
row, and is refilled from the store, in the same order, when it runs low.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from warrener.ids import TaskRef
from warrener.ordering import Turn
from warrener.states import State
from warrener.store import TaskRow

CAPACITY = 2_000


def turn_of(row: TaskRow) -> Turn:
    """Return the place of a ready row in the order."""
    assert row.ready_at is not None
    return Turn(row.level, row.deadline_at, row.ready_at, row.run, row.n)


class Window:
    """Ready rows in their order."""

    def __init__(self, capacity: int = CAPACITY, *, spilled: bool = False) -> None:
        self._capacity = capacity
        self._heap: list[tuple[Turn, TaskRow]] = []
        self._rows: dict[TaskRef, Turn] = {}
        self._spilled = spilled  # the store may have ready rows that are not here
        self._bound: Turn | None = None  # of the last row that was here when it spilled

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, ref: TaskRef) -> bool:
        return ref in self._rows

    @property
    def low(self) -> bool:
        """Whether the store should be asked for more."""
        return self._spilled and len(self._rows) <= self._capacity // 4

    def push(self, row: TaskRow) -> Sequence[TaskRow]:
        """Add a ready row, or move one to its new turn; return the rows that are kept in the store alone now."""
        turn = turn_of(row)
        if self._spilled and self._bound is not None and turn > self._bound:
            self._rows.pop(row.ref, None)
            return [row]
        self._rows[row.ref] = turn
        heapq.heappush(self._heap, (turn, row))
        return self._spill() if len(self._rows) > 2 * self._capacity else []

    def refill(self, rows: Sequence[TaskRow], limit: int) -> Sequence[TaskRow]:
        """Take the first `limit` ready rows of the store; return the rows that are in the store alone now."""
        new = {row.ref for row in rows}
        gone = [row for row in self._live() if row.ref not in new]
        self._spilled = len(rows) >= limit
        self._rows = {row.ref: turn_of(row) for row in rows}
        self._heap = [(turn, row) for row, turn in zip(rows, self._rows.values(), strict=True)]
        heapq.heapify(self._heap)
        self._bound = turn_of(rows[-1]) if self._spilled else None
        return gone

    def pop(self) -> TaskRow | None:
        """Take out the first row; None when there is none."""
        while self._heap:
            turn, row = heapq.heappop(self._heap)
            if self._rows.get(row.ref) == turn and row.state is State.READY:
                del self._rows[row.ref]
                return row
            if self._rows.get(row.ref) == turn:
                del self._rows[row.ref]
        return None

    def put_back(self, rows: Iterable[TaskRow]) -> None:
        """Return rows that were popped and could not be placed."""
        for row in rows:
            turn = turn_of(row)
            self._rows[row.ref] = turn
            heapq.heappush(self._heap, (turn, row))

    def discard(self, ref: TaskRef) -> None:
        self._rows.pop(ref, None)

    def _live(self) -> Iterator[TaskRow]:
        return (row for turn, row in self._heap if self._rows.get(row.ref) == turn)

    def _spill(self) -> Sequence[TaskRow]:
        live = sorted((turn, id(row), row) for turn, row in self._heap if self._rows.get(row.ref) == turn)
        kept, dropped = live[: self._capacity], live[self._capacity :]
        self._heap = [(turn, row) for turn, _, row in kept]
        self._rows = {row.ref: turn for turn, _, row in kept}
        self._spilled = True
        self._bound = kept[-1][0]
        return [row for _, _, row in dropped]
