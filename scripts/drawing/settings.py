"""Writes the table of settings, in docs/operating.md, from the fields and their docstrings."""

from __future__ import annotations

import ast
import inspect
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from drawing.marked import draw, replaced
from warrener.settings import Settings

PAGE = "operating.md"
_COMPUTED = {"state": "`~/.local/state/warrener`", "host": "the host's name", "slots": "the number of CPUs, at least 2"}


def documented() -> dict[str, str]:
    """Return what the source says below each field, on one line."""
    (tree,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[field.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def table() -> str:
    """Return a row for each setting."""
    says = documented()
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        shown = _COMPUTED.get(name) or _shown(field.default)
        meaning = says[name].replace("|", "\\|")
        lines.append(f"| `WARRENER_{name.upper()}` | {shown} | {meaning} |")
    return "\n".join(lines)


def _shown(default: Any) -> str:
    if default in (None, "", (), PydanticUndefined):
        return ""
    if isinstance(default, timedelta) and default >= timedelta(days=1):
        return f"`{default.days}d`"
    if isinstance(default, timedelta):
        return f"`{default.total_seconds():g}s`"
    return f"`{default.as_posix() if isinstance(default, Path) else default}`"


def page(was: str) -> str:
    """Return the page with the table made anew."""
    return replaced(was, "settings", table())


if __name__ == "__main__":
    sys.exit(draw("settings", {PAGE: page}))
