"""Parts that are away, as this program sees it: alerted when it lasts, again while it lasts, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from warrener.alerts import Alert, AlertKind

LASTS = timedelta(seconds=10)
"""A part that is back within this time was not away; a restart of a broker takes longer."""

AGAIN_EVERY = timedelta(minutes=1)
"""How often it is said again: another program, whose way to the part is free, may have said that it is over."""


@dataclass(frozen=True, slots=True)
class _Part:
    kind: AlertKind
    subject: str
    away: str
    cause: str
    look: str


def parts_seen_from(host: str) -> Mapping[str, _Part]:
    """Return the parts that may be away, with what is said then."""
    return {
        "gossip": _Part(
            AlertKind.GOSSIP_TROUBLE, f"serf of {host}",
            f"The gossip program on {host} cannot reach its Serf agent; nobody tells which hosts fail",
            "The agent is not running, listens elsewhere than WARRENER_GOSSIP says, or has another key.",
            "serf members",
        ),
        "broker": _Part(
            AlertKind.BROKER_TROUBLE, "broker",
            f"The broker cannot be used, as seen from {host}; work that is accepted starts when it is back",
            "RabbitMQ is down or cut off, its disk or memory is full, or this program's user may not log in.",
            "rabbitmq-diagnostics status",
        ),
        "store": _Part(
            AlertKind.STORE_TROUBLE, "database",
            f"The database cannot be used, as seen from {host}; nothing is accepted and nothing is scheduled",
            "The database is down or cut off, its disk is full, it can only be read, or takes no more connections.",
            "pg_isready",
        ),
    }  # fmt: skip


@dataclass(slots=True)
class _Away:
    since: datetime
    reason: str
    said_at: datetime | None = None


@dataclass(slots=True)
class Troubles:
    """Which parts are away."""

    parts: Mapping[str, _Part]
    _away: dict[str, _Away] = field(default_factory=dict)
    _met: set[str] = field(default_factory=set)

    def away(self, part: str, reason: str, now: datetime) -> None:
        """A part could not be reached."""
        known = self._away.setdefault(part, _Away(now, reason))
        known.reason = reason

    def back(self, part: str, now: datetime) -> list[tuple[Alert, datetime]]:
        """A part was reached; return what is to be said, and of which moments."""
        gone = self._away.pop(part, None)
        first = part not in self._met
        self._met.add(part)
        if (gone is None or gone.said_at is None) and not first:
            return []
        return [(self._alert(part, "", over=True), now)]

    def lasting(self, now: datetime) -> list[tuple[Alert, datetime]]:
        """Return what is to be said of parts that stay away."""
        said: list[tuple[Alert, datetime]] = []
        for part, gone in self._away.items():
            if now - gone.since >= LASTS and (gone.said_at is None or now - gone.said_at >= AGAIN_EVERY):
                said.append((self._alert(part, gone.reason), gone.since if gone.said_at is None else now))
                gone.said_at = now
        return said

    def alert_of(self, part: str) -> tuple[Alert, datetime] | None:
        """Return the alert of a part that has been away for long, and since when."""
        gone = self._away.get(part)
        return None if gone is None or gone.said_at is None else (self._alert(part, gone.reason), gone.since)

    def _alert(self, part: str, reason: str, *, over: bool = False) -> Alert:
        one = self.parts[part]
        if over:
            return Alert(one.kind, one.subject, f"The {one.subject} can be reached again.", over=True)
        return Alert(one.kind, one.subject, f"{one.away}: {reason}.", cause=one.cause, look=one.look)
