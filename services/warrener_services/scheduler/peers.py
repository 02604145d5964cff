"""What the schedulers tell one another, so that a lane's slots are shared by demand.

Everybody says every half second what it has in flight and ready; and at once when a lane that is short of slots turns
from or to none. Who has been silent for a while gives its share to the others; who does not take part is not believed.
A lost or late word costs a queue that is longer, or a slot that is idle, for a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from warrener.matching import shares
from warrener.messages import Demand, LaneDemand

TELL_EVERY = timedelta(milliseconds=500)
AT_ONCE = timedelta(milliseconds=200)
"""How soon after the last word a turn may be told."""
ALONE_EVERY = timedelta(seconds=1)
"""How soon after the last word another is told when no other scheduler listens, if anything changed."""
AGAIN_EVERY = timedelta(seconds=5)
"""How often a word is repeated that has not changed, or that says of nothing: silence means that nobody is there."""
SILENT = timedelta(seconds=3)
"""How long a word counts."""

_NONE = LaneDemand(in_flight=0, ready=0)
_LONG_AGO = timedelta.max


@dataclass(slots=True)
class Peers:
    """The other schedulers, as this one hears of them."""

    name: str = ""
    """This scheduler's own."""
    others: Collection[str] = frozenset()
    """Those that take part."""
    _heard: Mapping[str, tuple[datetime, Demand]] = field(default_factory=dict)
    _told: Mapping[str, LaneDemand] = field(default_factory=dict)
    _told_at: datetime | None = None
    _used: Counter[str] = field(default_factory=Counter)
    _used_at: datetime | None = None

    def hear(self, message: Demand, now: datetime) -> None:
        """Take in what a scheduler says; a tick may be reading meanwhile, in a thread of its own."""
        if message.scheduler != self.name:
            known = {name: word for name, word in self._heard.items() if name in self.others}
            self._heard = {**known, message.scheduler: (now, message)}

    def share(self, lane: str, slots: int, own: int, now: datetime) -> int:
        """Return how many of a lane's slots are ours, whose tasks in flight and ready want `own`."""
        if not self.others:
            return slots
        demands = {name: demand.lanes.get(lane, _NONE).total for name, demand in self._present(now)}
        return shares(slots, {**demands, self.name: own})[self.name]

    def used(self, now: datetime) -> Mapping[str, int]:
        """Return the slots of each worker that others' tasks take or are meant for."""
        if now != self._used_at:  # once a tick is enough
            self._used_at, self._used = now, Counter()
            for _, demand in self._present(now):
                self._used.update(demand.used)
        return self._used

    def others_want(self, lane: str, now: datetime) -> int:
        return sum(demand.lanes.get(lane, _NONE).total for _, demand in self._present(now))

    def turned(self, lanes: Mapping[str, LaneDemand]) -> list[str]:
        """Return the lanes that had work when we last told, and have none now, or the other way round."""
        return sorted(lanes.keys() ^ self._told.keys())

    def has_told(self, lanes: Mapping[str, LaneDemand]) -> bool:
        """Tell whether this is what we last said."""
        return self._told == lanes

    def since_told(self, now: datetime) -> timedelta:
        return _LONG_AGO if self._told_at is None else now - self._told_at

    def told(self, lanes: Mapping[str, LaneDemand], now: datetime) -> None:
        self._told, self._told_at = lanes, now

    def had(self, lane: str) -> int:
        """Return what we last said to want of a lane."""
        return self._told.get(lane, _NONE).total

    def _present(self, now: datetime) -> Iterator[tuple[str, Demand]]:
        for name, (at, demand) in self._heard.items():
            if name in self.others and now - at < SILENT:
                yield name, demand
