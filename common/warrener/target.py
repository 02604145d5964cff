"""A target is where a job really runs: this host, a container, an SSH host, Slurm.

What an implementation promises:

* `start` returns once the attempt's intent is on disk and a runner holds its process group. Starting an attempt that
  was started before returns the one that is there: it never runs twice.
* What it started outlives the worker. `found` lists it after a restart, `wait` works on it as before.
* The job is stopped, with its whole process tree, when its lease or its timeout runs out, even if the worker is frozen
  or dead; `Ended.stopped` says which it was.
* `forget` removes what was kept about an attempt, once its report is safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from warrener.ids import AttemptRef


@dataclass(frozen=True, slots=True)
class Job:
    """A command to run. `argv` is never given to a shell.

    `folder` is its working directory. `output` is where it may leave its output as JSON. `secrets` names variables
    whose values are fetched at launch and never written down. At most `keep_bytes` of each stream are kept: the first
    half and the newest half.
    """

    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    keep_bytes: int = 4 * 1024 * 1024
    grace_s: float = 5.0
    """How long after SIGTERM until SIGKILL."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. `exit_code` is the command's, negative for the signal that killed it (as in subprocess)."""

    exit_code: int
    seconds: float
    stopped: Literal["timeout", "lease", "cancelled", "not yours"] | None = None
    error: str | None = None
    """Why the command could not be started at all (no such command, no permission)."""


@dataclass(frozen=True, slots=True)
class Started:
    """A job that a runner holds. `note` is what `start` was given, word for word."""

    ref: AttemptRef
    folder: Path
    """What is kept about the attempt: note, `stdout`, `stderr`, `output.json`, the end."""
    note: str
    lease_until_s: float | None = None
    """The lease when it was looked at, for a worker that takes the job back; None if the target cannot tell."""


class Target(Protocol):
    """A place that runs commands under leases."""

    async def start(self, ref: AttemptRef, job: Job, *, lease_until_s: float, note: str) -> Started:
        """Start a job, or find it if it was started before.

        `lease_until_s` is on the boot-time clock of this host. `note` is kept with it (JSON of the order and token).
        Raises TaskFailed(ERROR) when no runner can be started.
        """
        ...

    async def wait(self, started: Started) -> Ended:
        """Wait for the end. Abandoning the wait does not touch the job."""
        ...

    async def extend(self, started: Started, lease_until_s: float) -> None:
        """Move the lease; does nothing once the job has ended."""
        ...

    async def stop(self, started: Started, reason: Literal["cancelled", "not yours"]) -> None:
        """Ask the runner to end the whole tree now; `wait` tells when it is gone."""
        ...

    async def found(self) -> Sequence[Started]:
        """List what was started and not forgotten, running or ended."""
        ...

    async def lost(self, started: Started) -> bool:
        """Tell whether nobody will ever say how it ended; then nothing of it is left. Its host was restarted, say."""
        ...

    async def forget(self, started: Started) -> None:
        """Remove what is kept about an ended attempt."""
        ...
