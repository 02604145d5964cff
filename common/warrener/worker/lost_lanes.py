"""Lanes whose queue was deleted: told in heartbeats for a while, so that a scheduler that is away hears of it later."""

from __future__ import annotations

from warrener.clock import Clock
from warrener.messages import LostLane

_TOLD_S = 40.0


class LostLanes:
    """When each lane was last found without its queue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lost_s: dict[str, float] = {}

    def add(self, lane: str) -> None:
        """Note that the queue of a lane is gone."""
        self._lost_s[lane] = self._clock.boot_s()

    def told(self) -> list[LostLane]:
        """Return what the next heartbeat says."""
        now_s = self._clock.boot_s()
        self._lost_s = {lane: at_s for lane, at_s in self._lost_s.items() if now_s - at_s <= _TOLD_S}
        return [LostLane(lane=lane, ago_s=now_s - at_s) for lane, at_s in self._lost_s.items()]
