"""The crash points of a scheduler: between what it has committed and what the broker was told."""

from __future__ import annotations

from warrener.runtime.crash import crash_point, register

__all__ = ["CRASH_POINTS", "crash_point"]

CRASH_POINTS = {
    "scheduler.taken": "the shards are ours under new epochs; nothing was read of them",
    "scheduler.loaded": "the book is read; nothing of the outbox was sent again",
    "scheduler.before-commit": "deliveries were taken, nothing is committed",
    "scheduler.after-commit": "a tick is committed; nothing of it was sent or settled",
    "scheduler.before-settle": "what was committed is being sent; the deliveries are not settled",
    "scheduler.after-settle": "the deliveries are settled; answers may not have been sent",
    "scheduler.leaving": "shards move; the last tick is settled, and the shards are still ours",
    "scheduler.accepted": "runs are committed, the reply to their submission is not sent",
    "scheduler.published": "a posted message is confirmed by the broker and still stands in the outbox",
}
register(CRASH_POINTS)
