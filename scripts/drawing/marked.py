"""Drawn parts of pages: between two comments that name them, everything else on the page is written by people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def replaced(page: str, name: str, drawn: str) -> str:
    """Return the page with the part of this name drawn anew; raises ValueError if the page has no such part."""
    begin, end = f"<!-- drawn: {name} -->\n", f"<!-- end: {name} -->"
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page has no part between {begin.strip()} and {end}")
    return f"{before}{begin}{drawn.rstrip()}\n{end}{after}"


def draw(what: str, files: Mapping[str, Callable[[str], str]]) -> int:
    """Write files below docs/, each from what it was; with --check only say which are out of date, and fail."""
    parser = argparse.ArgumentParser(prog=f"draw-{what}")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something is out of date")
    check = parser.parse_args().check
    stale = False
    for name, make in files.items():
        path = DOCS / name
        was = path.read_text() if path.exists() else ""
        now = make(was)
        if was != now:
            stale = True
            print(f"docs/{name} {'is out of date' if check else 'drawn'}", file=sys.stderr)
            if not check:
                path.write_text(now)
    return int(stale and check)
