"""How a worker of several kinds divides its slots between its lanes: a pure rule.

After the self-adapting pools of Dron. A lane whose tasks want more slots than its workers have (the high mark) takes
slots; one that is far enough below (the low mark) offers them. A slot goes from the lane that misses it least to the
one that needs it most, and only if that helps: what the giver then lacks must be clearly less than what the taker
lacks now. Each such step makes the worse of two lanes better, so steps come to an end, and none is ever taken back
while demand stays as it is.

Demand is that of the whole fleet, and every worker reckons for itself: each moves only its part of what all should
move together. Where that is no whole number, chance decides, so that workers that reckon alike do not move alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

MARGIN = 1.25
"""How many times less than the taker the giver must lack slots, afterwards. More: fewer shifts, less even waiting."""

_MOST_STEPS = 1_000
"""How many slots of a fleet one division moves at most; the next one goes on."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many of a worker's slots one lane may have."""

    least: int = 1
    most: int = 100_000


@dataclass(frozen=True, slots=True)
class Want:
    """What the fleet's schedulers say of one lane, in slots. `wanted` is in flight or ready."""

    wanted: int = 0
    slots: int = 0
    """Of all workers of the lane."""
    heaviest: int = 1
    """What one of its tasks takes at most: that many must be together somewhere, or it never starts."""


def first_division(lanes: Mapping[str, Bounds], budget: int) -> dict[str, int]:
    """Divide slots while nothing is known: everybody's least, and the rest in turn."""
    held = {lane: bounds.least for lane, bounds in lanes.items()}
    left = budget - sum(held.values())
    while left > 0 and (open_lanes := [lane for lane in lanes if held[lane] < lanes[lane].most]):
        for lane in open_lanes[:left]:
            held[lane] += 1
        left = budget - sum(held.values())
    return held


def wrong_bounds(lanes: Mapping[str, Bounds], budget: int) -> str | None:
    """Say what is wrong with bounds under a budget; None if they can be kept."""
    for lane, bounds in lanes.items():
        if bounds.least > bounds.most:
            return f"{lane} has at least {bounds.least} slots and at most {bounds.most}; swap them"
    least, most = sum(one.least for one in lanes.values()), sum(one.most for one in lanes.values())
    if least > budget:
        return f"the lanes have at least {least} slots together, of {budget}; give the worker more, or them less"
    if most < budget:
        return f"the lanes have at most {most} slots together, of {budget}; give the worker fewer, or them more"
    return None


def divide(
    held: Mapping[str, int], lanes: Mapping[str, Bounds], wants: Mapping[str, Want], *, chance: float = 0.5
) -> dict[str, int]:
    """Return the slots that each lane should have now; the sum is that of `held`, and the bounds hold.

    `chance` is drawn anew between 0 and 1 (not 1 itself) each time; it plays no part for a worker that is alone.
    """
    division = _Division(dict(held), lanes, wants)
    division.make_room_for_the_heavy()
    steps = _steps_of_all(division)
    given = Counter(giver for giver, _ in steps)
    ours = {giver: int(count * division.part(giver) + chance) for giver, count in given.items()}
    for giver, taker in steps:
        if ours[giver] > 0 and division.may_go(giver, taker):
            ours[giver] -= 1
            division.go(giver, taker)
    return division.held


def _steps_of_all(division: _Division) -> list[tuple[str, str]]:
    """Return who should give a slot to whom, if all workers of these lanes were one."""
    fleet = dict(division.fleet)
    steps: list[tuple[str, str]] = []
    while len(steps) < _MOST_STEPS and (step := _best_step(division, fleet)) is not None:
        giver, taker = step
        fleet[giver] -= 1
        fleet[taker] += 1
        steps.append(step)
    return steps


def _best_step(division: _Division, fleet: Mapping[str, int]) -> tuple[str, str] | None:
    def lack(lane: str) -> float:
        return _ratio(division.want(lane).wanted, fleet[lane])

    def lack_after(lane: str) -> float:
        return _ratio(division.want(lane).wanted, fleet[lane] - 1)

    takers = [lane for lane in fleet if lack(lane) > 1 and fleet[lane] < division.most_of_all(lane)]
    for taker in sorted(takers, key=lambda lane: (lack(lane), lane), reverse=True):
        givers = [
            lane for lane in fleet
            if lane != taker and fleet[lane] > division.least_of_all(lane) and lack_after(lane) * MARGIN <= lack(taker)
            and lack_after(lane) < math.inf
        ]  # fmt: skip
        if givers:
            return min(givers, key=lambda lane: (lack_after(lane), -fleet[lane], lane)), taker
    return None


class _Division:
    """What a worker holds of each lane, on its way from one division to the next."""

    def __init__(self, held: dict[str, int], lanes: Mapping[str, Bounds], wants: Mapping[str, Want]) -> None:
        self.held = held
        self._lanes, self._wants = lanes, wants
        self._heavy = {lane for lane in held if self.want(lane).wanted and self.want(lane).heaviest > 1}
        self.fleet = {lane: max(self.want(lane).slots, slots) for lane, slots in held.items()}

    def make_room_for_the_heavy(self) -> None:
        """Let each lane have as many slots as its heaviest task takes, which must be together on one worker."""
        for lane in sorted(self._heavy):
            while self.held[lane] < self._least(lane):
                givers = [other for other in self.held if self.held[other] > self._least(other)]
                if not givers:
                    break
                giver = min(givers, key=lambda other: (self.want(other).wanted, -self.held[other], other))
                self.go(giver, lane)
                self.fleet[giver] -= 1
                self.fleet[lane] += 1

    def want(self, lane: str) -> Want:
        return self._wants.get(lane, Want())

    def part(self, lane: str) -> float:
        """Return our part of a lane's slots."""
        return self.held[lane] / self.fleet[lane] if self.fleet[lane] else 0.0

    def least_of_all(self, lane: str) -> int:
        """Return what all workers of a lane keep together, if the others are like us."""
        return math.ceil(self._least(lane) * self._like_us(lane))

    def most_of_all(self, lane: str) -> int:
        return int(self._lanes[lane].most * self._like_us(lane))

    def may_go(self, giver: str, taker: str) -> bool:
        return self.held[giver] > self._least(giver) and self.held[taker] < self._lanes[taker].most

    def go(self, giver: str, taker: str) -> None:
        self.held[giver] -= 1
        self.held[taker] += 1

    def _least(self, lane: str) -> int:
        bounds = self._lanes[lane]
        return max(bounds.least, min(self.want(lane).heaviest, bounds.most)) if lane in self._heavy else bounds.least

    def _like_us(self, lane: str) -> float:
        return self.fleet[lane] / self.held[lane] if self.held[lane] else max(1.0, self.fleet[lane])


def _ratio(wanted: int, slots: int) -> float:
    return wanted / slots if slots > 0 else math.inf if wanted else 0.0
