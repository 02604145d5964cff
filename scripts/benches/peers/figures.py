"""What was measured: medians over rounds, ratios to Warrener, the table and the lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median

from .systems import SYSTEMS, WARRENER, System


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one round, or the median over several."""

    tasks_per_s: float
    cpu_s_per_1000: float
    start_p50_ms: float
    start_p99_ms: float


NAMES = tuple(field.name for field in fields(Figures))
_NOTE = (
    "In brackets: divided by Warrener's figure of the same round. Warrener takes 100 tasks in a submission, the others"
    " one in a message. Processor time is that of the programs, without RabbitMQ and PostgreSQL."
)
_DIGITS = {"tasks_per_s": None, "cpu_s_per_1000": 3, "start_p50_ms": 2, "start_p99_ms": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """A system and its rounds from the first on. It has no more of them after a `problem`."""

    system: System
    tasks: int
    rounds: tuple[Figures, ...] = ()
    problem: str = ""

    @property
    def medians(self) -> Figures | None:
        if not self.rounds:
            return None
        return Figures(**{name: median(getattr(figures, name) for figures in self.rounds) for name in NAMES})


def ratio(row: Row, to: Row, name: str) -> float | None:
    """Return how often `to`'s figure goes into this row's: the median of the ratios within each round.

    Systems are compared within a round because a shared machine is quicker in one minute and slower in the next.
    """
    pairs = zip(row.rounds, to.rounds, strict=False)
    ratios = [getattr(mine, name) / getattr(other, name) for mine, other in pairs if getattr(other, name)]
    return median(ratios) if ratios else None


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown: medians, and beside each its ratio to Warrener's."""
    reference = _warrener(rows)
    lines = [
        "| | keeps | tasks/s | CPU s per 1,000 | start at idle, p50 ms | p99 ms |",
        "|---|---|---|---|---|---|",
        *(_line(row, reference) for row in rows),
    ]
    number = max((len(row.rounds) for row in rows), default=0)
    note = f"{_NOTE} Medians of {number} rounds." if number > 1 else f"{_NOTE} One round."
    return "\n".join([*lines, "", note])


def to_json(row: Row, rows: Sequence[Row]) -> str:
    """Return a row as a line of JSON that `from_json` reads."""
    reference, medians = _warrener(rows), row.medians
    ratios = {name: ratio(row, reference, name) for name in NAMES} if reference else {}
    return json.dumps(
        {
            "bench": "against",
            "system": row.system.name,
            "keeps": row.system.keeps,
            "tasks": row.tasks,
            **({name: round(getattr(medians, name), _DIGITS[name]) for name in NAMES} if medians else {}),
            "to_warrener": {name: round(value, 3) for name, value in ratios.items() if value is not None},
            "rounds": [{name: round(getattr(one, name), _DIGITS[name]) for name in NAMES} for one in row.rounds],
            **({"problem": row.problem} if row.problem else {}),
        }
    )


def from_json(line: str) -> Row:
    """Read what `to_json` wrote."""
    said: Mapping[str, object] = json.loads(line)
    systems = {system.name: system for system in SYSTEMS}
    rounds = said["rounds"]
    assert isinstance(rounds, list)
    return Row(
        systems[str(said["system"])],
        int(str(said["tasks"])),
        tuple(Figures(**one) for one in rounds),
        str(said.get("problem", "")),
    )


def _warrener(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row.system is WARRENER), None)


def _line(row: Row, reference: Row | None) -> str:
    medians = row.medians
    if medians is None:
        reason = (row.problem.splitlines() or ["not measured"])[-1].replace("|", "\\|")  # where a traceback says it
        return f"| {row.system.title} | {row.system.keeps} | {reason} | | | |"
    cells = [
        f"{medians.tasks_per_s:,.0f}",
        f"{medians.cpu_s_per_1000:.2f}",
        f"{medians.start_p50_ms:.1f}",
        f"{medians.start_p99_ms:.1f}",
    ]
    if reference is not None and row.system is not WARRENER:
        cells = [cell + _bracket(ratio(row, reference, name)) for cell, name in zip(cells, NAMES, strict=True)]
    title = f"{row.system.title} (failed in round {len(row.rounds) + 1})" if row.problem else row.system.title
    return f"| {title} | {row.system.keeps} | {' | '.join(cells)} |"


def _bracket(value: float | None) -> str:
    return "" if value is None else f" ({value:.{2 if value < 10 else 0}f}×)"
