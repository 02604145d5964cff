"""Many rows as one parameter: a statement whose text does not depend on how many rows it takes.

On PostgreSQL a derived table over `unnest` of one array per column, on SQLite one over `json_each` of a JSON array.
Either keeps the statement cache small and a batch of a thousand rows one round trip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import FromClause, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine


class Rows:
    """A table of values with named, typed columns."""

    def __init__(self, dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> None:
        self._dialect = dialect
        self._names = tuple(columns)
        self.table: FromClause = _unnested(columns) if dialect == "postgresql" else _from_json(columns)

    def bind(self, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
        """Return the parameters for these rows, values in the order of the columns."""
        if self._dialect != "postgresql":
            return {"rows": json.dumps([list(row) for row in rows], separators=(",", ":"))}
        by_column = list(zip(*rows, strict=True)) or [()] * len(self._names)
        return {f"rows_{name}": list(values) for name, values in zip(self._names, by_column, strict=True)}


def _unnested(columns: Mapping[str, TypeEngine[Any]]) -> FromClause:
    arrays = [bindparam(f"rows_{name}", type_=ARRAY(type_)) for name, type_ in columns.items()]
    table = func.unnest(*arrays).table_valued(*(column(name, type_) for name, type_ in columns.items()), name="v")
    return table.render_derived()


def _from_json(columns: Mapping[str, TypeEngine[Any]]) -> FromClause:
    each = func.json_each(bindparam("rows")).table_valued("value", name="j")
    return select(
        *(
            func.json_extract(each.c.value, f"$[{place}]", type_=type_).label(name)
            for place, (name, type_) in enumerate(columns.items())
        )
    ).subquery("v")
