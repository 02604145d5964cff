"""The penalty box: a host that fails at what others can do gets less work, then none, then a probe at a time.

A *strike* is one piece of trouble that the host is to blame for: a worker of it died, its disk is full, no process
starts there, it cannot build or fetch what others can. Successes of the host take its strikes away. With two strikes it
gets half of its slots, with three it is in quarantine: no work for `FIRST`. Then one task at a time is let through as a
probe. If that goes well the host is free; if it does not, the next quarantine is twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

FIRST = timedelta(seconds=30)
"""How long the first quarantine lasts; each further one twice as long as the one before."""

LONGEST = timedelta(minutes=10)

LESS_FROM = 2
QUARANTINE_FROM = 3
"""With how many strikes a host gets less work, and none."""

LAPSE = timedelta(minutes=10)
"""Trouble that has not come again for so long counts no more, and neither does how often there was a quarantine."""

_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Penalty:
    """How a host stands. `until` is the end of its last quarantine, `at` the moment of its last strike."""

    host: str
    strikes: int
    quarantines: int
    until: datetime | None
    reason: str
    at: datetime

    def quarantined(self, now: datetime) -> bool:
        """Tell whether the host gets no work now."""
        return self.until is not None and now < self.until

    def lapsed(self, now: datetime) -> bool:
        """Tell whether it is time to forget it."""
        return now - max(self.at, self.until or self.at) >= LAPSE


def strike(known: Penalty | None, host: str, reason: str, now: datetime) -> Penalty:
    """Return how a host stands after one more piece of trouble; in quarantine, trouble of before does not count."""
    if known is None or known.lapsed(now):
        known = Penalty(host, 0, 0, None, "", now)
    if known.quarantined(now):
        return known
    strikes = min(known.strikes + 1, QUARANTINE_FROM)
    told = replace(known, strikes=strikes, reason=reason[:_MAX_REASON], at=now)
    if strikes < QUARANTINE_FROM:
        return told
    longer = FIRST * 2 ** min(known.quarantines, 10)
    return replace(told, quarantines=known.quarantines + 1, until=now + min(longer, LONGEST))


def clear(known: Penalty, now: datetime) -> Penalty | None:
    """Return how a host stands after a success: None if there is nothing to hold against it any more.

    What was begun before a quarantine and ends well in it does not end it.
    """
    return known if known.quarantined(now) else None


def slots_left(known: Penalty, slots: int, now: datetime, *, alone: bool) -> int | None:
    """Return how many of its slots a worker of a host may fill; None: all.

    `alone`: no other host could do its work. Then a slot is left also in quarantine: a slow way is better than none.
    """
    if known.lapsed(now) or known.strikes < LESS_FROM:
        return None
    if known.quarantined(now):
        return 1 if alone else 0
    if known.strikes >= QUARANTINE_FROM:
        return 1
    return max(1, slots // 2)
