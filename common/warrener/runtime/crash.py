"""Crash points: named places between two durable steps, where a test kills the process as a power cut would.

`WARRENER_CRASH_AT=name` ends the process at the first pass of that point, `name:n` at the n-th. A test walks all of
`CRASH_POINTS`; passing an unarmed point costs one comparison.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from warrener.errors import InvalidSettings

VARIABLE = "WARRENER_CRASH_AT"

CRASH_POINTS: dict[str, str] = {
    "worker.ordered": "an order was received and checked, nothing was done about it",
    "worker.claimed": "a claim was sent, its answer is not there",
    "worker.granted": "an attempt was granted, its order is not settled",
    "worker.settled-order": "the order is settled, the work has not begun",
    "worker.performed": "the work of a claimed attempt has ended, its report is not in the spool",
    "worker.spooled": "the report is in the spool, not sent",
    "worker.reported": "the report was confirmed by the broker, no receipt is there",
    "worker.receipt": "the receipt came, the report is still in the spool",
    "worker.unspooled": "the report left the spool, the performer still keeps its part",
    "worker.direct-performed": "a direct call has ended, its report is not sent",
    "worker.direct-reported": "the report of a direct call was confirmed, its order is not settled",
    "worker.parked": "a copy of an unreadable order is parked, the order is not settled",
}
"""Every point of the library, and what is true there."""


def _end_process() -> None:
    os._exit(137)


_armed: str | None = None
_passes_left = 0
_act: Callable[[], None] = _end_process


def crash_point(name: str) -> None:
    """End the process here if this point is armed and this is the pass that was asked for."""
    if _armed is not None and name == _armed:
        _pass()


def arm(where: str | None, act: Callable[[], None] = _end_process) -> None:
    """Arm one point, `name` or `name:n`, or none; `act` is what happens there.

    Raises InvalidSettings for a point that does not exist: a test that kills nothing would pass for nothing.
    """
    global _armed, _passes_left, _act  # noqa: PLW0603 - one process has one life to lose
    if not where:
        _armed = None
        return
    name, _, count = where.partition(":")
    if name not in CRASH_POINTS:
        raise InvalidSettings(f"{VARIABLE}: there is no crash point {name!r}; known: {', '.join(CRASH_POINTS)}")
    if count and (not count.isdecimal() or int(count) < 1):
        raise InvalidSettings(f"{VARIABLE}: {count!r} should be the number of a pass, from 1")
    _armed, _passes_left, _act = name, int(count or 1), act


def register(points: dict[str, str]) -> None:
    """Add the points of a program outside the library; call it where the program's module is imported."""
    CRASH_POINTS.update(points)


def _pass() -> None:
    global _passes_left  # noqa: PLW0603 - see arm
    _passes_left -= 1
    if _passes_left == 0:
        _act()


def arm_from_environment() -> None:
    """Arm what `WARRENER_CRASH_AT` names; `serve` calls it once, when every program's points are registered."""
    arm(os.environ.get(VARIABLE))
