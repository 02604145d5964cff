"""The screen: plain words, calm tables, and no control character that came from a task."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warrener.alerts import clean

_WIDE = 240
"""The width where nobody looks: a pipe or a file."""

STYLES = {
    "waiting": "dim",
    "ready": "cyan",
    "ordered": "cyan",
    "running": "bold blue",
    "unreachable": "yellow",
    "cancelling": "yellow",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "expired": "red",
    "skipped": "dim",
    "upstream_failed": "red",
    "accepted": "cyan",
    "critical": "bold red",
    "error": "red",
    "warning": "yellow",
    "info": "cyan",
    "up": "green",
    "draining": "yellow",
    "drained": "yellow",
    "quarantined": "red",
    "silent": "red",
    "well": "green",
    "unwell": "red",
    "gone": "dim",
    "alive": "green",
    "leaving": "yellow",
    "left": "dim",
}
SIGNS = {
    "waiting": "·", "ready": "○", "ordered": "○", "running": "●", "unreachable": "?", "cancelling": "…",
    "succeeded": "✓", "failed": "✗", "cancelled": "–", "expired": "✗", "skipped": "–", "upstream_failed": "✗",
}  # fmt: skip


def one_line(text: str, most: int = 160) -> str:
    """Squeeze a text to one clean line."""
    lines = (" ".join(line.split()) for line in clean(text).splitlines())
    line = " · ".join(line for line in lines if line)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def failure_line(text: str, most: int = 160) -> str:
    """Squeeze what went wrong to one clean line: what it was, and as much of the end as there is room for."""
    line = one_line(text, len(text) + 1000)
    if len(line) <= most:
        return line
    what, *printed = line.split(" · ")
    kept: list[str] = []
    room = most - len(what) - len(" · … ")
    while printed and len(printed[-1]) + len(" · ") <= room:
        kept.insert(0, printed.pop())
        room -= len(kept[0]) + len(" · ")
    return f"{what} · … {' · '.join(kept)}" if kept else one_line(text, most)


def console(*, stderr: bool = False) -> Console:
    """Make the console: as wide as the terminal, or wide enough for every line where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def say(text: str = "") -> None:
    """Write a line of text."""
    print(clean(text))  # noqa: T201 - the screen is what this is for


def say_aside(text: str) -> None:
    """Write a line that is no result: to stderr."""
    print(clean(text), file=sys.stderr)  # noqa: T201


def state_text(state: str, *, sign: bool = False) -> Text:
    """Show a state in its colour."""
    shown = state.replace("_", " ")
    return Text(f"{SIGNS.get(state, ' ')} {shown}" if sign else shown, style=STYLES.get(state, ""))


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Iterable[str] = ()) -> None:
    """Show rows beneath headings; `right` names the columns of numbers."""
    console().print(table_of(headings, rows, right=right))


def table_of(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Iterable[str] = ()) -> Table:
    """Make a table of rows beneath headings."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    numbers = set(right)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in row))
    return table


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────


def now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


def span(seconds: float) -> str:
    """Write a length of time: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 10:  # noqa: PLR2004 - here tenths matter
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for large, large_name, small, small_name in _UNITS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {large_name}{f' {rest} {small_name}' if rest else ''}"
    return f"{whole} s"


_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def ago(moment: datetime | None) -> str:
    """Say how long ago a moment was."""
    return "" if moment is None else f"{span((now() - moment).total_seconds())} ago"


def lasted(start: datetime | None, end: datetime | None) -> str:
    """Say how long something lasted, or lasts until now."""
    return "" if start is None else span(((end or now()) - start).total_seconds())
