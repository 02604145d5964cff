"""The workers that a scheduler knows: what they said of themselves, and what gossip says of their hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from warrener.messages import Heartbeat, Kind, Limit, Members

from .limits import NONE, Limits

SILENT = timedelta(seconds=35)
"""A worker that has said nothing for this long gets no orders."""

MISSED = timedelta(seconds=15)
"""A worker that has said nothing for this long has missed a heartbeat, and gets nothing that is for it alone."""

DOUBTED = timedelta(minutes=5)
"""A worker that let an order for it alone lapse gets the next such ones after all others, for so long."""

FORGOTTEN = timedelta(minutes=10)
"""A worker that has said nothing for this long is not remembered."""


@dataclass(slots=True)
class Worker:
    """A worker, by its last heartbeat."""

    name: str
    boot: str
    kind: Kind
    lanes: tuple[str, ...]
    site: str
    host: str
    member: str | None
    slots: int
    """How many may be filled: without what is withheld there for load, and within its limit."""
    state: str
    seen_at: datetime
    whole: int
    withheld: int
    obeys: int | None
    """The limit that it says to obey, and the one that it should."""
    limit: Limit = NONE


class Fleet:
    """All workers, by name."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._failed_at: dict[str, datetime] = {}
        self._lapsed_at: dict[str, datetime] = {}
        self._closed: set[str] = set()
        self.limits = Limits()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def forget(self, now: datetime) -> None:
        """Forget who has been silent for long; names come and go, with containers for example."""
        self._workers = {name: worker for name, worker in self._workers.items() if now - worker.seen_at < FORGOTTEN}
        self._lapsed_at = {name: at for name, at in self._lapsed_at.items() if now - at < DOUBTED}

    def hear(self, beat: Heartbeat, now: datetime) -> None:
        """Take a heartbeat in; a leaving worker is forgotten."""
        if beat.state == "leaving":
            self._workers.pop(beat.worker, None)
            return
        lanes = tuple(f"call.{app}" for app in beat.apps) if beat.task_kind is Kind.CALL else (beat.task_kind.value,)
        worker = self._workers[beat.worker] = Worker(
            beat.worker,
            beat.boot,
            beat.task_kind,
            lanes,
            beat.site,
            beat.host,
            beat.member,
            0,
            beat.state,
            now,
            beat.slots,
            beat.withheld,
            beat.limit,
        )
        self._restrain(worker, now)
        if worker.limit.slots != worker.obeys:
            self.limits.doubted = True

    def restrain(self, now: datetime) -> set[str]:
        """Reckon anew what each worker may fill; return those that may fill nothing since the last time."""
        for worker in self:
            self._restrain(worker, now)
        before, self._closed = self._closed, {worker.name for worker in self if worker.limit.slots == 0}
        return self._closed - before

    def _restrain(self, worker: Worker, now: datetime) -> None:
        worker.limit = self.limits.of(worker, now, lambda one: self._is_alone(one, now))
        most = worker.whole if worker.limit.slots is None else min(worker.whole, worker.limit.slots)
        worker.slots = max(0, min(most, worker.whole - worker.withheld)) if worker.state == "up" else 0

    def _is_alone(self, worker: Worker, now: datetime) -> bool:
        """Tell whether no other host could do what this worker does."""
        for other in self:
            penalty = self.limits.penalties.get(other.host)
            open_there = penalty is None or not penalty.quarantined(now)
            able = open_there and other.state == "up" and self.limits.drain_of(other.name, other.host) is None
            if (
                other.host != worker.host
                and able
                and now - other.seen_at < SILENT
                and set(other.lanes) & {*worker.lanes}
            ):
                return False
        return True

    def site_of(self, host: str) -> str:
        """Return the site of a host's workers; nothing if none is known."""
        return next((worker.site for worker in self if worker.host == host), "")

    def taken_beyond(self, lane: str, used: Mapping[str, int], now: datetime) -> int:
        """Return how many slots of a lane are in use that may not be filled again.

        They count as its capacity too, as what is in them counts as in flight.
        """
        beyond = 0
        for worker in self:
            if lane in worker.lanes:
                fillable = worker.slots if self._is_able(worker, now) else 0
                beyond += max(0, min(used.get(worker.name, 0), worker.whole) - fillable)
        return beyond

    def gossip(self, message: Members, now: datetime) -> None:
        """Take in what gossip says of members."""
        named = {seen.name for seen in message.members}
        if message.full:
            self._failed_at = {name: at for name, at in self._failed_at.items() if name in named}
        for seen in message.members:
            if seen.status == "failed":
                self._failed_at.setdefault(seen.name, now)
            else:
                self._failed_at.pop(seen.name, None)

    def lost(self) -> set[str]:
        """Return the workers whose member gossip calls failed, and who have not been heard of since.

        Gossip is a hint: a heartbeat after the news outweighs it.
        """
        return {name for name, worker in self._workers.items() if self._lost(worker)}

    def of_lane(self, lane: str, now: datetime) -> list[Worker]:
        """Return the workers that can take orders of a lane now."""
        return [worker for worker in self._able(now) if lane in worker.lanes]

    def slots(self, now: datetime) -> Counter[str]:
        """Return the slots of each lane's workers, as far as they can take orders now."""
        found: Counter[str] = Counter()
        for worker in self._able(now):
            found.update(dict.fromkeys(worker.lanes, worker.slots))
        return found

    def is_heard(self, name: str, now: datetime) -> bool:
        """Tell whether a worker has not missed a heartbeat."""
        worker = self._workers.get(name)
        return worker is not None and now - worker.seen_at < MISSED

    def lapse(self, name: str, now: datetime) -> None:
        """Note that a worker did not take an order that was for it alone: it may beat, and consume nothing."""
        self._lapsed_at[name] = now

    def claimed(self, name: str) -> None:
        """Note that a worker takes orders."""
        self._lapsed_at.pop(name, None)

    def is_doubted(self, name: str, now: datetime) -> bool:
        at = self._lapsed_at.get(name)
        return at is not None and now - at < DOUBTED

    def get(self, name: str) -> Worker | None:
        return self._workers.get(name)

    def _able(self, now: datetime) -> Iterator[Worker]:
        return (worker for worker in self if self._is_able(worker, now))

    def _is_able(self, worker: Worker, now: datetime) -> bool:
        return now - worker.seen_at < SILENT and worker.slots > 0 and not self._lost(worker)

    def _lost(self, worker: Worker) -> bool:
        failed_at = self._failed_at.get(worker.member or "")
        return failed_at is not None and worker.seen_at <= failed_at
