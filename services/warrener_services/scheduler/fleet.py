"""The workers that a scheduler knows: what they said of themselves, and what gossip says of their hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from warrener.messages import Heartbeat, Kind, Members

SILENT = timedelta(seconds=35)
"""A worker that has said nothing for this long gets no orders."""

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
    state: str
    seen_at: datetime


class Fleet:
    """All workers, by name."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._failed_at: dict[str, datetime] = {}

    def forget(self, now: datetime) -> None:
        """Forget who has been silent for long; names come and go, with containers for example."""
        self._workers = {name: worker for name, worker in self._workers.items() if now - worker.seen_at < FORGOTTEN}

    def hear(self, beat: Heartbeat, now: datetime) -> None:
        """Take a heartbeat in; a leaving worker is forgotten."""
        if beat.state == "leaving":
            self._workers.pop(beat.worker, None)
            return
        lanes = tuple(f"call.{app}" for app in beat.apps) if beat.task_kind is Kind.CALL else (beat.task_kind.value,)
        slots = beat.slots if beat.state == "up" else 0
        self._workers[beat.worker] = Worker(
            beat.worker,
            beat.boot,
            beat.task_kind,
            lanes,
            beat.site,
            beat.host,
            beat.member,
            slots,
            beat.state,
            now,
        )

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

    def get(self, name: str) -> Worker | None:
        return self._workers.get(name)

    def _able(self, now: datetime) -> Iterator[Worker]:
        for worker in self._workers.values():
            fresh = now - worker.seen_at < SILENT
            if fresh and worker.slots and not self._lost(worker):
                yield worker

    def _lost(self, worker: Worker) -> bool:
        failed_at = self._failed_at.get(worker.member or "")
        return failed_at is not None and worker.seen_at <= failed_at
