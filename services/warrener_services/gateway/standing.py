"""How workers stand: what they say of themselves, and what the store says of them and their hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from warrener.penalties import QUARANTINE_FROM, Penalty, slots_left
from warrener.store import Drain, Transaction
from warrener.views import DrainView, WorkerView


def standing(workers: Sequence[WorkerView], tx: Transaction, now: datetime) -> list[WorkerView]:
    """Return the workers with the state that drains and penalties give them, and a note that says why."""
    drains: dict[tuple[str, str], Drain] = {(drain.what, drain.name): drain for drain in tx.restraints.drains()}
    penalties = {one.host: one for one in tx.restraints.penalties() if not one.lapsed(now)}
    return [_judged(worker, drains, penalties, now) for worker in workers]


def drain_view(drain: Drain) -> DrainView:
    """Show a drain."""
    return DrainView(what=drain.what, name=drain.name, by=drain.by, reason=drain.reason, at=drain.at)


def _judged(
    worker: WorkerView, drains: Mapping[tuple[str, str], Drain], penalties: Mapping[str, Penalty], now: datetime
) -> WorkerView:
    drain = drains.get(("worker", worker.name)) or drains.get(("host", worker.host))
    if drain is not None:
        ended = worker.limit == 0 and not worker.attempts
        state = ("drained" if ended else "draining") if worker.state in ("up", "draining") else worker.state
        whole = "its host was drained" if drain.what == "host" else "drained"
        why = f": {drain.reason}" if drain.reason else ""
        return worker.model_copy(update={"state": state, "note": f"{whole} by {drain.by}{why}"})
    penalty = penalties.get(worker.host)
    if penalty is not None and worker.state == "up":
        return _penalised(worker, penalty, now)
    if worker.withheld:
        return worker.model_copy(update={"note": f"{worker.withheld} slots kept empty for the load of its host"})
    return worker


def _penalised(worker: WorkerView, penalty: Penalty, now: datetime) -> WorkerView:
    left = slots_left(penalty, worker.slots, now, alone=worker.limit != 0)
    if left is None:
        return worker
    if penalty.quarantined(now):
        until = f"quarantined until {penalty.until:%H:%M:%S} UTC"
        how = until if left == 0 else f"{until}, but alone with its work: one task at a time"
        state = "quarantined" if left == 0 else worker.state
        return worker.model_copy(update={"state": state, "note": f"{how}: {penalty.reason}"})
    what = "one task at a time, as a probe" if penalty.strikes >= QUARANTINE_FROM else f"{left} of {worker.slots} slots"
    return worker.model_copy(update={"note": f"{what}, after trouble: {penalty.reason}"})
