"""Writes the fields that are not built yet, in docs/workflows.md."""

from __future__ import annotations

import sys

from drawing.marked import draw, replaced
from warrener.written import NOT_BUILT

PAGE = "workflows.md"
_PLACES = {"workflow": "at the top", "task": "in a task or in `defaults`"}


def not_built() -> str:
    """Return a line for each place of the language."""
    return "\n".join(
        f"- {_PLACES.get(place, f'in `{place}`')}: {', '.join(f'`{name}`' for name in fields)}"
        for place, fields in NOT_BUILT.items()
        if fields
    )


def page(was: str) -> str:
    """Return the page with its drawn part made anew."""
    return replaced(was, "not built", not_built())


if __name__ == "__main__":
    sys.exit(draw("language", {PAGE: page}))
