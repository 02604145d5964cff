"""An environment is what a job needs around it: here, a Python with its packages.

What an implementation promises:

* The same recipe on the same platform gives the same folder, named by the digest of both; it is built once
  however many ask at the same time, also from several processes, and is complete by an atomic rename.
* A failed or killed build leaves nothing that could be taken for an environment.
* Failure raises TaskFailed(ENV) with the end of what the builder printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Log = Callable[[Literal["stdout", "stderr"], str], None]
"""Takes what a builder prints, line by line; cheap, never blocks."""


@dataclass(frozen=True, slots=True)
class Built:
    """An environment that is ready."""

    path: Path
    digest: str
    python: Path
    site_packages: Path
    reused: bool
    seconds: float


class Environment(Protocol):
    """One kind of environment, such as `venv`."""

    manager: str

    async def build(self, recipe: Mapping[str, Any], *, log: Log) -> Built:
        """Build the environment of a recipe below the site's folder, or find it built."""
        ...
