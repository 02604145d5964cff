"""A site is a place that shares a file system; these are its folders.

<root>/runs/<run>/                  the working folder of a run: staged files, results; jobs run here
<root>/envs/<digest>/               environments, read-only once built
<root>/attempts/<run>-<n>-<attempt>/ what a target keeps about a job that it runs
<root>/spool/<worker>/              reports that no receipt has answered yet
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warrener.ids import AttemptRef, RunId, WorkerName


@dataclass(frozen=True, slots=True)
class Site:
    """The folders of one site, as seen from a host of it."""

    name: str
    root: Path

    def run_folder(self, run: RunId) -> Path:
        return self.root / "runs" / run

    @property
    def environments(self) -> Path:
        return self.root / "envs"

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    def attempt_folder(self, ref: AttemptRef) -> Path:
        return self.attempts / f"{ref.run}-{ref.n}-{ref.attempt}"

    def spool(self, worker: WorkerName) -> Path:
        return self.root / "spool" / worker
