"""How many workers a pool should have: a pure rule.

Up as soon as the backlog would not drain in time; down only when fewer have been enough for a while, and would still
have room for what ran meanwhile. The first reacts to a burst at once, the second keeps a constant load from making
workers come and go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

FILLED = 0.8
"""How much of the smaller pool may be busy after a shrink: a pool that was filled to the brim does not shrink."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a pool may do. Times in seconds."""

    minimum: int
    maximum: int
    slots: int
    """Of one worker."""
    drain_within_s: float
    """In which time the backlog should be gone."""
    wait_at_most_s: float | None = None
    """When the oldest ready task has waited longer, there is one worker more."""
    up_after_s: float = 5.0
    """How long after growing the pool may grow again."""
    down_after_s: float = 60.0
    """For how long fewer workers must have been enough before it shrinks, and the least between two changes before."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pool sees of its lanes, in slots."""

    queued: int = 0
    """What is ready and could start in this pool."""
    in_flight: int = 0
    """What is ordered or runs, on anybody's workers but those that are leaving."""
    others: int = 0
    """The slots of workers that are not of this pool."""
    busy: int = 0
    """How many of the pool's own slots are taken."""
    mean_s: float = 0.0
    """How long tasks run on average; 0 when nobody knows."""
    oldest_s: float = 0.0
    """How long the oldest ready task has waited."""
    silent_s: float | None = None
    """For how long no scheduler was heard, if that is too long to know anything."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What was wished for at some time, with the slots that were busy."""

    at_s: float
    wished: int
    busy: int


@dataclass(frozen=True, slots=True)
class Past:
    """What a pool remembers. A new one remembers nothing, and so shrinks no sooner than after `down_after_s`."""

    began_s: float
    moments: tuple[Moment, ...] = ()
    grown_s: float | None = None
    changed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there should be now; `wished`: without waiting for cool-downs."""

    count: int
    wished: int
    why: str


def wish(rule: Rule, seen: Seen, running: int) -> tuple[int, str]:
    """Return how many workers the work of this moment asks for, within the bounds, and why."""
    work = seen.queued + seen.in_flight
    slots = _slots_for(rule, seen, work)
    workers = math.ceil(max(0, slots - seen.others) / rule.slots)
    why = _sentence(rule, seen, work, slots)
    late = rule.wait_at_most_s is not None and seen.queued > 0 and seen.oldest_s > rule.wait_at_most_s
    if late and workers <= running:
        workers, why = running + 1, f"the oldest ready task has waited for {_s(seen.oldest_s)}"
    if workers > rule.maximum:
        return rule.maximum, f"{why}: {_workers(workers)}; at most {rule.maximum}"
    if workers < rule.minimum:
        return rule.minimum, f"{why}; at least {rule.minimum}"
    return workers, f"{why}: {_workers(workers)}"


def decide(rule: Rule, seen: Seen, running: int, past: Past, now_s: float) -> tuple[Decision, Past]:
    """Return how many workers there should be, and what to remember of this look. Never outside the bounds.

    Whoever does what was decided remembers that as well, by `acted`.
    """
    if seen.silent_s is not None:
        count = min(max(running, rule.minimum), rule.maximum)
        why = f"no scheduler was heard for {_s(seen.silent_s)}: it stays as it is"
        return Decision(count, count, why), replace(past, began_s=now_s, moments=())  # nobody knows what was needed
    wished, why = wish(rule, seen, running)
    since_s = now_s - rule.down_after_s
    moments = tuple(one for one in past.moments if one.at_s > since_s)
    past = replace(past, moments=(*moments, Moment(now_s, wished, seen.busy)))
    if wished > running:
        count, why = _up(rule, (wished, why), running, past, now_s)
    elif wished < running:
        count, why = _down(rule, (wished, why), running, past, now_s)
    else:
        count = running
    count = min(max(count, rule.minimum), rule.maximum)
    return Decision(count, wished, why), past


def acted(past: Past, running: int, count: int, now_s: float) -> Past:
    """Remember that the pool was changed from `running` to `count`."""
    return replace(past, changed_s=now_s, grown_s=now_s if count > running else past.grown_s)


def _slots_for(rule: Rule, seen: Seen, work: int) -> int:
    """Return how many slots the lanes need, so that their work drains in time: never more than there is work."""
    mean_s = seen.mean_s or rule.drain_within_s  # of what nobody knows, each takes as long as it may
    return min(work, max(math.ceil(work * mean_s / rule.drain_within_s), min(work, 1)))


def _up(rule: Rule, wish: tuple[int, str], running: int, past: Past, now_s: float) -> tuple[int, str]:
    wished, why = wish
    if running >= rule.minimum and past.grown_s is not None and now_s - past.grown_s < rule.up_after_s:
        return running, f"{why}; it grew {_s(now_s - past.grown_s)} ago, and grows again after {_s(rule.up_after_s)}"
    return wished, why


def _down(rule: Rule, wish: tuple[int, str], running: int, past: Past, now_s: float) -> tuple[int, str]:
    wished, why = wish
    if running > rule.maximum:
        return rule.maximum, why
    quiet_s = now_s - max(past.began_s, past.changed_s or past.began_s)
    if quiet_s < rule.down_after_s:
        return running, f"{why}; it shrinks {_s(rule.down_after_s)} after the last change, {_s(quiet_s)} ago"
    needed = max(one.wished for one in past.moments)
    busy = sum(one.busy for one in past.moments) / len(past.moments)
    needed = max(needed, math.ceil(busy / FILLED / rule.slots))
    if needed >= running:
        return running, f"{why}; in the last {_s(rule.down_after_s)} it needed all {_workers(running)}"
    return max(needed, wished), why


def _sentence(rule: Rule, seen: Seen, work: int, slots: int) -> str:
    if not work:
        return "nothing to do"
    each = f"{_s(seen.mean_s)} each" if seen.mean_s else "nobody knows how long"
    other = f" without the {seen.others} of others" if seen.others else ""
    return (
        f"{seen.queued} queued and {seen.in_flight} in flight, {each}: {slots} slot{_s_of(slots)}{other}"
        f" drain{'s' if slots == 1 else ''} it within {_s(rule.drain_within_s)}"
    )


def _workers(number: int) -> str:
    return f"{number} worker{_s_of(number)}"


def _s_of(number: int) -> str:
    return "" if number == 1 else "s"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"  # noqa: PLR2004 - one digit is enough for these
