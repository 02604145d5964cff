"""The crash points of an alert desk: between what it has committed and what others were told."""

from __future__ import annotations

from warrener.runtime.crash import crash_point, register

__all__ = ["CRASH_POINTS", "crash_point"]

CRASH_POINTS = {
    "gossip.received": "alerts that came by message are in the store, their messages are not settled",
    "gossip.taken": "a letter is taken, nothing of it was sent",
    "gossip.handed-over": "a letter was handed over, and the store does not know",
    "gossip.sent": "a letter was handed over, and the store knows",
}
register(CRASH_POINTS)
