"""Draws the table of moves: a diagram (Mermaid) and a table, in docs/states.md."""

from __future__ import annotations

import sys
from collections import defaultdict

from drawing.marked import draw, replaced
from warrener.states import FINAL, HELD, IN_FLIGHT, MOVES, Move, State

PAGE = "states.md"


def diagram() -> str:
    """Return the diagram; moves between the same two states share an arrow."""
    arrows: defaultdict[tuple[State, State], list[Move]] = defaultdict(list)
    for (before, what), after in MOVES.items():
        if what is not Move.REOPEN:
            arrows[before, after].append(what)
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", "    [*] --> waiting"]
    for (before, after), moves in arrows.items():
        lines.append(f"    {before} --> {after}: {', '.join(moves)}")
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join([*lines, "```"])


def table() -> str:
    """Return the rows of the table, as Markdown."""
    lines = ["| from | move | to |", "|---|---|---|"]
    lines += [f"| `{before}` | `{what}` | `{after}` |" for (before, what), after in MOVES.items()]
    return "\n".join(lines)


def sets() -> str:
    """Return which states belong together."""
    named = {"Final": FINAL, "In flight": IN_FLIGHT, "Held": HELD}
    return "\n".join(
        f"- **{name}**: {', '.join(f'`{state}`' for state in State if state in states)}"
        for name, states in named.items()
    )


def page(was: str) -> str:
    """Return the page with its drawn parts made anew."""
    for name, drawn in (("diagram", diagram()), ("sets", sets()), ("moves", table())):
        was = replaced(was, name, drawn)
    return was


if __name__ == "__main__":
    sys.exit(draw("states", {PAGE: page}))
