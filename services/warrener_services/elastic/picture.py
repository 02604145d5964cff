"""What schedulers and workers say, as a pool sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from warrener.messages import DEMAND_BELIEVED_S, Demand, Heartbeat, Kind, LaneDemand

from .decision import Seen
from .driver import Crew

SILENT_S = 35.0
"""How long a worker's heartbeat counts."""


class Picture:
    """The last word of every scheduler and every worker."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._words: dict[str, tuple[float, Demand]] = {}
        self._beats: dict[str, tuple[float, Heartbeat]] = {}

    def hear_demand(self, word: Demand, now_s: float) -> None:
        self._words[word.scheduler] = now_s, word

    def hear_beat(self, beat: Heartbeat, now_s: float) -> None:
        if beat.state == "leaving":
            self._beats.pop(beat.worker, None)
        else:
            self._beats[beat.worker] = now_s, beat

    def forget(self, now_s: float) -> None:
        """Forget who has been silent for long."""
        self._words = {name: kept for name, kept in self._words.items() if now_s - kept[0] < DEMAND_BELIEVED_S}
        self._beats = {name: kept for name, kept in self._beats.items() if now_s - kept[0] < SILENT_S}

    def seen(self, lanes: Sequence[str], site: str, crew: Crew, now_s: float) -> Seen:
        """Return what a pool that serves these lanes at a site has to do with."""
        self.forget(now_s)
        if not self._words:
            heard_s = self._heard_s if self._heard_s is not None else self._began_s
            return Seen(silent_s=now_s - heard_s)
        self._heard_s = max(at_s for at_s, _ in self._words.values())
        demands = [word.lanes[lane] for _, word in self._words.values() for lane in lanes if lane in word.lanes]
        own_slots = own_held = others = others_held = gone_held = 0
        for beat in self._of_lanes(lanes):
            member = crew.member_of(beat)
            if member in crew.leaving:
                gone_held += len(beat.attempts)
            elif member is not None or (crew.whole_lane and beat.site == site):
                own_slots, own_held = own_slots + beat.slots, own_held + len(beat.attempts)
            elif beat.state == "up" and beat.site == site:
                others, others_held = others + _may_fill(beat), others_held + len(beat.attempts)
        in_flight = max(0, sum(one.in_flight for one in demands) - gone_held)
        return Seen(
            queued=sum(_usable(one, site) for one in demands),
            in_flight=in_flight,
            others=others,
            busy=min(own_slots, max(own_held, in_flight - others_held)),
            mean_s=_mean_s(demands),
            oldest_s=max((one.oldest_s for one in demands if one.ready), default=0.0),
        )

    _heard_s: float | None = None

    def load(self, crew: Crew) -> dict[str, int]:
        """Return how many attempts each member holds."""
        held: Counter[str] = Counter()
        for _, beat in self._beats.values():
            if (member := crew.member_of(beat)) is not None:
                held[member] += len(beat.attempts)
        return dict(held)

    def _of_lanes(self, lanes: Sequence[str]) -> Iterator[Heartbeat]:
        for _, beat in self._beats.values():
            own = [f"call.{app}" for app in beat.apps] if beat.task_kind is Kind.CALL else [beat.task_kind.value]
            if not set(own).isdisjoint(lanes):
                yield beat


def _may_fill(beat: Heartbeat) -> int:
    """Return how many slots a worker may fill: a drained one counts for nothing."""
    return beat.slots if beat.limit is None else min(beat.slots, beat.limit)


def _usable(demand: LaneDemand, site: str) -> int:
    """Return how many queued slots may be at this site."""
    return max(0, demand.queued - demand.elsewhere(site))


def _mean_s(demands: Sequence[LaneDemand]) -> float:
    """Return how long tasks run, weighed by how much of each lane there is; 0 if that is unknown of any of them."""
    work = [(one.in_flight + one.queued, one.mean_s) for one in demands if one.in_flight + one.queued]
    if not work or any(not mean_s for _, mean_s in work):
        return 0.0
    return sum(slots * mean_s for slots, mean_s in work) / sum(slots for slots, _ in work)
