"""The workers that a scheduler knows: what they said of themselves, and what gossip says of their hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from warrener.messages import Heartbeat, Kind, MemberSeen

SILENT = timedelta(seconds=35)
"""A worker that has said nothing for this long gets no orders."""


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
        self._dead_members: set[str] = set()

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

    def gossip(self, seen: MemberSeen) -> None:
        """Take in what gossip says of a member."""
        if seen.status == "failed":
            self._dead_members.add(seen.name)
        else:
            self._dead_members.discard(seen.name)

    def lost(self) -> set[str]:
        """Return the names of workers whose member gossip calls failed."""
        return {name for name, worker in self._workers.items() if worker.member in self._dead_members}

    def of_lane(self, lane: str, now: datetime) -> list[Worker]:
        """Return the workers that can take orders of a lane now."""
        return [worker for worker in self._able(now) if lane in worker.lanes]

    def get(self, name: str) -> Worker | None:
        return self._workers.get(name)

    def _able(self, now: datetime) -> Iterator[Worker]:
        for worker in self._workers.values():
            fresh = now - worker.seen_at < SILENT
            if fresh and worker.slots and worker.member not in self._dead_members:
                yield worker
