"""The roll: which workers there are, as far as heartbeats and gossip tell. A hint for people; no rule rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from warrener import tags
from warrener.messages import Attributes, Heartbeat, Members, MemberSeen
from warrener.views import MemberView, TagView, WorkerView

SILENT_AFTER = timedelta(seconds=35)
FORGOTTEN_AFTER = timedelta(hours=1)
FAILED_FORGOTTEN_AFTER = timedelta(hours=24)
ASK_AGAIN_AFTER = timedelta(seconds=30)
_LONGEST_CALL = 500


@dataclass(slots=True)
class _Member:
    seen: MemberSeen
    since: datetime
    workers: list[str] = field(default_factory=list)


class Roll:
    """The last heartbeat of every worker, its attributes, and what gossip thinks of its member."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[Heartbeat, datetime]] = {}
        self._attributes: dict[str, Attributes] = {}
        self._asked_at: dict[str, datetime] = {}
        self._members: dict[str, _Member] = {}

    def hear(self, beat: Heartbeat, now: datetime) -> None:
        known = self._heard.get(beat.worker)
        if known is None or known[0].boot != beat.boot or known[0].seq <= beat.seq:
            self._heard.pop(beat.worker, None)
            self._heard[beat.worker] = beat, now
            if beat.attributes is not None:
                self._attributes[beat.worker] = beat.attributes
        self._forget(now)

    def hear_gossip(self, message: Members, now: datetime) -> None:
        """Take in what gossip says of members; a full picture does without those that it forgot."""
        for seen in message.members:
            known = self._members.get(seen.name)
            since = known.since if known is not None and known.seen.status == seen.status else now
            # One that left has taken its tags away: its workers are remembered.
            workers = sorted(name.removeprefix(tags.PREFIX) for name in seen.tags if name.startswith(tags.PREFIX))
            if not workers and known is not None and seen.status != "alive":
                workers = known.workers
            self._members[seen.name] = _Member(seen, since, workers)
        if message.full:
            named = {seen.name for seen in message.members}
            self._members = {name: member for name, member in self._members.items() if name in named}

    def to_describe(self, now: datetime) -> Sequence[str]:
        """Return the workers whose attributes are not known, or not those of now; each once in a while."""
        wanted = [name for name in self._heard if self._unknown(name) and self._may_ask(name, now)][:_LONGEST_CALL]
        self._asked_at.update(dict.fromkeys(wanted, now))
        return wanted

    def call(self, now: datetime) -> Sequence[WorkerView]:
        """Return every worker by kind and name, the long gone left out."""
        self._forget(now)
        views = [self._view(beat, at, now) for beat, at in self._heard.values()]
        return sorted(views, key=lambda worker: (worker.kind, worker.name))

    def members(self, now: datetime) -> Sequence[MemberView]:
        """Return the members by name; those that left or failed for a while only."""
        patience = {"left": FORGOTTEN_AFTER, "failed": FAILED_FORGOTTEN_AFTER}
        return [
            _member_view(member)
            for _, member in sorted(self._members.items())
            if now - member.since < patience.get(member.seen.status, timedelta.max)
        ]

    def _forget(self, now: datetime) -> None:
        """Forget the long gone; who was heard of first stands first."""
        while (oldest := next(iter(self._heard), None)) and now - self._heard[oldest][1] > FORGOTTEN_AFTER:
            for kept in (self._heard, self._attributes, self._asked_at):
                kept.pop(oldest, None)

    def _unknown(self, worker: str) -> bool:
        beat, _ = self._heard[worker]
        known = self._attributes.get(worker)
        told = self._tag(beat)
        wanted = {beat.digest} | ({told.digest} if told is not None and told.digest else set())
        return bool(beat.digest) and beat.state != "leaving" and (known is None or {known.digest} != wanted)

    def _may_ask(self, worker: str, now: datetime) -> bool:
        asked_at = self._asked_at.get(worker)
        return asked_at is None or now - asked_at >= ASK_AGAIN_AFTER

    def _tag(self, beat: Heartbeat) -> tags.WorkerTag | None:
        """Return what gossip says of a worker, if it is about this life of it."""
        member = self._members.get(beat.member or "")
        text = None if member is None else member.seen.tags.get(tags.key_of(beat.worker))
        told = None if text is None else tags.read(text)
        return told if told is not None and told.boot == beat.boot else None

    def _view(self, beat: Heartbeat, at: datetime, now: datetime) -> WorkerView:
        silent = now - at > SILENT_AFTER
        gone = beat.state == "leaving"
        member = self._members.get(beat.member or "")
        told = self._tag(beat)
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
            gossip=None if member is None else member.seen.status,
            gossip_since=None if member is None else member.since,
            tag=None if told is None else TagView(state=told.state, free=told.free, slots=told.slots, load=told.load),
            digest=beat.digest,
            attributes=self._attributes.get(beat.worker),
        )


def _member_view(member: _Member) -> MemberView:
    seen = member.seen
    return MemberView(
        name=seen.name, status=seen.status, since=member.since, address=seen.address, workers=member.workers,
        asks=tags.ASKS in seen.tags,
    )  # fmt: skip
