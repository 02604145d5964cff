"""A performer does the work of one kind of task inside a worker; it knows nothing of queues, claims and reports.

What an implementation promises:

* `perform` returns the task's output (JSON), or raises TaskFailed. Performing the same assignment again, after a crash
  or a redelivery, does no harm.
* When it is cancelled and `assignment.stop` is set, nothing of the work is left running when CancelledError leaves
  `perform`. When it is cancelled and `assignment.stop` is None, the worker itself is stopping: what can outlive it
  (a job under its runner) is left alone, anything else ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from warrener.ids import AttemptRef, BootId
from warrener.messages import Json, Kind, Order
from warrener.site import Site


@dataclass(slots=True, eq=False)
class Assignment:
    """One attempt in a worker's hands. Only the worker changes it.

    `token` and `boot` prove the attempt, also after a restart (`boot` is the life that got the grant).
    `lease_until_s` is on the boot-time clock; None for a direct call, which has no lease yet.
    """

    order: Order
    site: Site
    token: str
    boot: BootId
    lease_until_s: float | None
    log: Callable[[Literal["stdout", "stderr"], str], None] = field(repr=False)
    """Takes what the task prints, as it comes; cheap, never blocks, drops beyond its bounds and says so."""
    stop: Literal["cancelled", "not yours"] | None = None

    @property
    def ref(self) -> AttemptRef:
        return self.order.ref


class Performer(Protocol):
    """The work of one kind of task."""

    kind: Kind

    async def perform(self, assignment: Assignment) -> Json:
        """Do the work; return its output or raise TaskFailed."""
        ...

    async def extended(self, assignment: Assignment) -> None:
        """Hear that `assignment.lease_until_s` moved."""
        ...

    async def recover(self) -> Sequence[Assignment]:
        """List what an earlier life of this worker left, running or ended and not reported; `perform` joins it.

        Their `log` is replaced by the worker before it performs them.
        """
        ...

    async def forget(self, ref: AttemptRef) -> None:
        """Drop what was kept about an attempt: its report is committed."""
        ...
