"""How many workers a pool should have: bounds, cool-downs, bursts and calm."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warrener_services.elastic.decision import Decision, Past, Rule, Seen, acted, decide, wish

RULE = Rule(minimum=0, maximum=4, slots=2, drain_within_s=30)

rules = st.builds(
    lambda least, more, **more_fields: Rule(minimum=least, maximum=least + more, **more_fields),
    st.integers(0, 5), st.integers(0, 20), slots=st.integers(1, 8), drain_within_s=st.floats(1, 120),
    wait_at_most_s=st.none() | st.floats(1, 60), up_after_s=st.floats(0, 30), down_after_s=st.floats(1, 120),
)  # fmt: skip
pictures = st.builds(
    Seen, queued=st.integers(0, 5_000), in_flight=st.integers(0, 100), others=st.integers(0, 50),
    busy=st.integers(0, 40), mean_s=st.floats(0, 500), oldest_s=st.floats(0, 500),
    silent_s=st.none() | st.none() | st.floats(1, 100),
)  # fmt: skip


class Pool:
    """A pool that does what is decided, at once."""

    def __init__(self, rule: Rule, running: int = 0) -> None:
        self.rule, self.running, self.now_s = rule, running, 0.0
        self.past = Past(0.0)
        self.changes: list[tuple[float, int]] = []

    def look(self, seen: Seen, *, after_s: float = 1.0) -> Decision:
        self.now_s += after_s
        decision, self.past = decide(self.rule, seen, self.running, self.past, self.now_s)
        if decision.count != self.running:
            self.changes.append((self.now_s, decision.count - self.running))
            self.past = acted(self.past, self.running, decision.count, self.now_s)
            self.running = decision.count
        return decision


def test_a_burst_is_answered_at_once_within_the_bounds() -> None:
    assert Pool(RULE).look(Seen(queued=500)).count == 4


@pytest.mark.parametrize(
    ("seen", "workers"),
    [
        (Seen(), 0),
        (Seen(queued=1), 1),  # something must run it
        (Seen(queued=60, mean_s=1), 1),  # two slots drain sixty seconds of work in thirty
        (Seen(queued=61, mean_s=1), 2),
        (Seen(queued=3, mean_s=3600), 2),  # no more slots than there are tasks
        (Seen(queued=3), 2),  # nobody knows how long: a slot each
        (Seen(queued=150, mean_s=1, others=4), 1),
        (Seen(in_flight=2, mean_s=3600), 1),
    ],
)
def test_the_backlog_should_drain_in_time(seen: Seen, workers: int) -> None:
    assert wish(RULE, seen, running=0)[0] == workers


def test_a_task_that_waits_too_long_brings_one_more() -> None:
    rule = replace(RULE, wait_at_most_s=10)
    assert wish(rule, Seen(queued=2, mean_s=1, oldest_s=11), running=1)[0] == 2
    assert wish(rule, Seen(queued=0, in_flight=2, mean_s=1, oldest_s=11), running=1)[0] == 1


def test_it_says_why() -> None:
    pool = Pool(RULE)
    assert pool.look(Seen(queued=500, mean_s=1)).why == (
        "500 queued and 0 in flight, 1.0 s each: 17 slots drain it within 30 s: 9 workers; at most 4"
    )
    assert (
        pool.look(Seen(), after_s=20).why == "nothing to do: 0 workers; it shrinks 60 s after the last change, 20 s ago"
    )


def test_it_shrinks_when_fewer_were_enough_for_the_cool_down() -> None:
    pool = Pool(RULE)
    pool.look(Seen(queued=500))
    while pool.running:
        pool.look(Seen())
    assert pool.changes == [(1.0, 4), (61.0, -4)]


def test_a_pool_filled_to_the_brim_does_not_shrink() -> None:
    pool = Pool(RULE, running=4)
    for _ in range(200):
        pool.look(Seen(queued=5, in_flight=8, busy=8, mean_s=1))  # one worker would do, but the queue would grow
    assert pool.changes == []


def test_without_schedulers_nothing_changes() -> None:
    pool = Pool(RULE, running=3)
    for _ in range(200):
        decision = pool.look(Seen(silent_s=20))
    assert pool.running == 3
    assert "no scheduler was heard for 20 s" in decision.why


def test_after_a_silence_the_cool_down_begins_anew() -> None:
    pool = Pool(RULE, running=4)
    for _ in range(50):
        pool.look(Seen(queued=500))
    for _ in range(200):
        pool.look(Seen(silent_s=20))
    ended_s = pool.now_s
    while pool.running:
        pool.look(Seen())
    assert pool.changes == [(ended_s + RULE.down_after_s, -4)]


def test_a_new_program_does_not_end_what_an_earlier_one_started() -> None:
    pool = Pool(RULE, running=4)
    for _ in range(59):
        pool.look(Seen())
    assert pool.running == 4


@given(rules, st.lists(st.tuples(pictures, st.floats(0.1, 30)), max_size=40), st.integers(0, 40))
def test_never_outside_the_bounds(rule: Rule, times: list[tuple[Seen, float]], running: int) -> None:
    pool = Pool(rule, running)
    for seen, after_s in times:
        decision = pool.look(seen, after_s=after_s)
        assert rule.minimum <= decision.count <= rule.maximum
        assert rule.minimum <= decision.wished <= rule.maximum


@given(rules, st.lists(st.tuples(pictures, st.floats(0.1, 30)), max_size=60))
def test_cool_downs_are_kept(rule: Rule, times: list[tuple[Seen, float]]) -> None:
    pool = Pool(rule, rule.minimum)
    for seen, after_s in times:
        pool.look(seen, after_s=after_s)
    for (before_s, _), (at_s, change) in zip([(0.0, 0), *pool.changes], pool.changes, strict=False):
        if change < 0:
            assert at_s - before_s >= rule.down_after_s
    grown = [at_s for at_s, change in pool.changes if change > 0]
    assert all(later - earlier >= rule.up_after_s for earlier, later in pairwise(grown))


@given(rules, pictures)
def test_a_burst_is_answered_within_one_period(rule: Rule, seen: Seen) -> None:
    seen = replace(seen, silent_s=None)
    pool = Pool(rule, rule.minimum)
    pool.look(Seen())
    decision = pool.look(seen)
    assert pool.running == max(decision.wished, rule.minimum)


@given(rules, st.lists(pictures, min_size=1, max_size=5))
def test_what_comes_again_and_again_makes_it_come_to_rest(rule: Rule, round_of: list[Seen]) -> None:
    """A load that repeats itself within the cool-down changes nothing once the pool has grown for it."""
    calm = [replace(seen, silent_s=None, oldest_s=0) for seen in round_of]
    pool = Pool(rule, rule.minimum)
    pause_s = rule.down_after_s / (len(calm) + 1)

    def go_round(times: int) -> None:
        for _ in range(times):
            for seen in calm:
                busy = min(seen.busy, pool.running * rule.slots)
                pool.look(replace(seen, busy=busy), after_s=pause_s)

    go_round(40)
    changes = len(pool.changes)
    go_round(20)
    assert pool.changes[changes:] == []


@settings(deadline=None, max_examples=25)
@given(
    load=st.floats(1, 40), mean_s=st.floats(0.5, 20), slots=st.integers(1, 4), drain_within_s=st.floats(5, 60),
)  # fmt: skip
def test_a_constant_load_does_not_make_workers_come_and_go(
    load: float, mean_s: float, slots: int, drain_within_s: float
) -> None:
    """Tasks come evenly; `load` of them run at a time, on average."""
    rule = Rule(minimum=0, maximum=400, slots=slots, drain_within_s=drain_within_s, down_after_s=30)
    pool = Pool(rule)
    came, queued, ends_s = 0.0, 0, list[float]()
    for second in range(1_500):
        came += load / mean_s
        queued, came = queued + int(came), came % 1
        ends_s = [end_s for end_s in ends_s if end_s > second]
        begun = min(queued, max(0, pool.running * slots - len(ends_s)))
        queued -= begun
        ends_s += [second + mean_s] * begun
        pool.look(Seen(queued=queued, in_flight=len(ends_s), busy=len(ends_s), mean_s=mean_s))
    assert queued * mean_s <= 2 * drain_within_s * pool.running * slots
    late = [change for at_s, change in pool.changes if at_s > 1_000]
    assert len(late) <= 2, pool.changes[-8:]
