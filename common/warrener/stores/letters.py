"""Letters, and who hands them over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, tuple_, update

from warrener.errors import Fenced
from warrener.letters import Letter
from warrener.stores.tables import deployment, letters

_FIELDS = tuple(field.name for field in fields(Letter))


class SqlLetters:
    """Queries over `letters`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hold(self) -> None:
        # One row that else only `configuration` locks. SQLite has one writer at a time anyway.
        self._connection.execute(select(deployment.c.id).with_for_update())

    def latest(self, folds: Collection[tuple[str, str]]) -> dict[tuple[str, str], Letter]:
        if not folds:
            return {}
        key = (letters.c.destination, letters.c.fold)
        last = select(func.max(letters.c.id)).where(tuple_(*key).in_(sorted(folds))).group_by(*key)
        found = self._connection.execute(select(letters).where(letters.c.id.in_(last)))
        return {(row.destination, row.fold): _letter(row) for row in found}

    def of_fold(self, fold: str) -> Sequence[Letter]:
        found = self._connection.execute(select(letters).where(letters.c.fold == fold).order_by(letters.c.id))
        return [_letter(row) for row in found]

    def add(self, letters: Iterable[Letter]) -> None:
        rows = [{name: getattr(letter, name) for name in _FIELDS if name != "id"} for letter in letters]
        if rows:
            self._connection.execute(insert(_TABLE), rows)

    def rewrite(self, letter: Letter) -> None:
        open_ = (_TABLE.c.id == letter.id) & ~_TABLE.c.sealed
        written = self._connection.execute(update(_TABLE).where(open_).values(content=letter.content))
        if written.rowcount != 1:
            raise Fenced("a letter was taken while alerts were added to it")

    def waiting(self, now: datetime, limit: int) -> Sequence[Letter]:
        query = select(_TABLE).where(_TABLE.c.ended_at.is_(None), _TABLE.c.try_at <= now)
        return [_letter(row) for row in self._connection.execute(query.order_by(_TABLE.c.try_at).limit(limit))]

    def take(self, seen: Letter, by: str) -> Letter | None:
        holder = _TABLE.c.taken_by.is_(None) if seen.taken_by is None else _TABLE.c.taken_by == seen.taken_by
        unchanged = (_TABLE.c.id == seen.id) & _TABLE.c.ended_at.is_(None) & (_TABLE.c.tries == seen.tries) & holder
        values = {"taken_by": by, "tries": seen.tries + 1, "sealed": True}
        if self._connection.execute(update(_TABLE).where(unchanged).values(values)).rowcount != 1:
            return None
        return _letter(self._connection.execute(select(_TABLE).where(_TABLE.c.id == seen.id)).one())

    def end(self, taken: Letter, now: datetime, outcome: str) -> None:
        self._finish(taken, ended_at=now, outcome=outcome, taken_by=None)

    def put_back(self, taken: Letter, try_at: datetime, outcome: str, *, sealed: bool) -> None:
        self._finish(taken, try_at=try_at, outcome=outcome, sealed=sealed, taken_by=None)

    def _finish(self, taken: Letter, **values: Any) -> None:
        mine = (_TABLE.c.id == taken.id) & (_TABLE.c.taken_by == taken.taken_by) & (_TABLE.c.tries == taken.tries)
        self._connection.execute(update(_TABLE).where(mine).values(values))


_TABLE = letters


def _letter(row: Row[Any]) -> Letter:
    return Letter(**{name: getattr(row, name) for name in _FIELDS})
