"""The roll: which workers there are, as far as their heartbeats tell. A hint for people; no rule rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from warrener.messages import Heartbeat
from warrener.views import WorkerView

SILENT_AFTER = timedelta(seconds=35)
FORGOTTEN_AFTER = timedelta(hours=1)


class Roll:
    """The last heartbeat of every worker."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[Heartbeat, datetime]] = {}

    def hear(self, beat: Heartbeat, now: datetime) -> None:
        known = self._heard.get(beat.worker)
        if known is None or known[0].boot != beat.boot or known[0].seq <= beat.seq:
            self._heard[beat.worker] = beat, now

    def call(self, now: datetime) -> Sequence[WorkerView]:
        """Return every worker by kind and name, the long gone left out."""
        old = [name for name, (_, at) in self._heard.items() if now - at > FORGOTTEN_AFTER]
        for name in old:
            del self._heard[name]
        views = [_view(beat, at, now) for beat, at in self._heard.values()]
        return sorted(views, key=lambda worker: (worker.kind, worker.name))


def _view(beat: Heartbeat, at: datetime, now: datetime) -> WorkerView:
    silent = now - at > SILENT_AFTER
    gone = beat.state == "leaving"
    return WorkerView(
        name=beat.worker,
        kind=beat.task_kind,
        apps=beat.apps,
        site=beat.site,
        host=beat.host,
        member=beat.member,
        slots=beat.slots,
        free=0 if gone or silent else beat.free,
        load=beat.load,
        state="gone" if beat.state == "leaving" else "silent" if silent else beat.state,
        attempts=len(beat.attempts),
        heard_at=at,
        withheld=beat.withheld,
        limit=beat.limit,
    )
