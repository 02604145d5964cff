"""A run: one execution of a workflow. Its state follows from its tasks; these are the pure rules."""

from __future__ import annotations

from enum import StrEnum

from warrener.states import State


class RunState(StrEnum):
    """Where a run stands."""

    ACCEPTED = "accepted"  # committed; no scheduler has taken it up yet
    RUNNING = "running"
    CANCELLING = "cancelling"  # wanted gone; some attempt is still out
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})

COUNTS_AS_FAILED = frozenset({State.FAILED, State.EXPIRED, State.UPSTREAM_FAILED})
COUNTS_AS_CANCELLED = frozenset({State.CANCELLED})


def outcome(*, unfinished: int, failed: int, cancelled: int, cancel_wanted: bool) -> RunState:
    """Return the state of a run with these many tasks not final, failed and cancelled.

    A run is final when its last task is. Failure outweighs cancelling: somebody must look at it.
    """
    if unfinished:
        return RunState.CANCELLING if cancel_wanted else RunState.RUNNING
    if failed:
        return RunState.FAILED
    if cancelled:
        return RunState.CANCELLED
    return RunState.SUCCEEDED
