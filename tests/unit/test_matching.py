"""How much is released, in what parcels and to whom."""

from __future__ import annotations

import math
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from warrener.matching import AHEAD, LONG, MAX_BUNDLE, SOON, Place, bundle_size, choose, credit, shares, smooth_rate

NUMBERS = st.integers(0, 10_000)
RATES = st.floats(0, 1e6, allow_nan=False)
PLACES = st.lists(
    st.builds(
        Place,
        worker=st.text("abc", min_size=1, max_size=3),
        site=st.sampled_from(["north", "south"]),
        slots=st.integers(0, 20),
        used=st.integers(0, 25),
        doubted=st.booleans(),
    ),
    max_size=8,
)


@given(slots=NUMBERS, in_flight=st.integers(-5, 20_000), per_second=RATES)
def test_credit_fills_the_slots_and_a_moment_ahead(slots: int, in_flight: int, per_second: float) -> None:
    given_now = credit(slots=slots, in_flight=in_flight, per_second=per_second)
    most = slots + math.ceil(per_second * AHEAD.total_seconds()) if slots else 0
    assert given_now == max(0, most - in_flight) if slots else given_now == 0


@given(slots=NUMBERS, in_flight=st.integers(-5, 20_000), per_second=RATES)
def test_no_more_goes_ahead_than_slots_are_about_to_be_free(slots: int, in_flight: int, per_second: float) -> None:
    free = max(0, slots - in_flight) if slots else 0
    for ending in (0, 1, 7):
        given_now = credit(slots=slots, in_flight=in_flight, per_second=per_second, ending=ending)
        assert free <= given_now <= free + ending
        assert given_now <= credit(slots=slots, in_flight=in_flight, per_second=per_second)


def test_without_workers_nothing_is_released() -> None:
    assert credit(slots=0, in_flight=0, per_second=1e6) == 0


DEMANDS = st.dictionaries(st.sampled_from("abcdef"), st.one_of(st.just(0), NUMBERS), min_size=1)


@given(slots=NUMBERS, demands=DEMANDS)
def test_shares_are_all_slots_and_one_at_least_for_everybody_with_work(slots: int, demands: dict[str, int]) -> None:
    given_now = shares(slots, demands)
    busy = [name for name, wanted in demands.items() if wanted]
    assert given_now.keys() == demands.keys()
    assert all(given_now[name] >= min(1, slots) for name in busy)
    assert all(given_now[name] == 0 for name in demands if name not in busy)
    if busy:
        assert slots <= sum(given_now.values()) <= slots + len(busy)


@given(slots=NUMBERS, demands=DEMANDS)
def test_shares_follow_demand(slots: int, demands: dict[str, int]) -> None:
    given_now, wanted = shares(slots, demands), sum(demands.values())
    for name, own in demands.items():
        assert own == 0 or abs(given_now[name] - slots * own / wanted) <= 1
    if wanted <= slots:
        assert all(given_now[name] >= own for name, own in demands.items())


@given(slots=NUMBERS, own=st.integers(1, 10_000), others=st.sets(st.sampled_from("bcdef")))
def test_who_alone_has_work_gets_all_slots(slots: int, own: int, others: set[str]) -> None:
    assert shares(slots, {"a": own, **dict.fromkeys(others, 0)})["a"] == slots


@given(rate=RATES, completed=NUMBERS, elapsed_s=st.floats(0, 100, allow_nan=False))
def test_a_rate_is_finite_and_not_negative(rate: float, completed: int, elapsed_s: float) -> None:
    smooth = smooth_rate(rate, completed, elapsed_s)
    assert smooth >= 0
    assert smooth < math.inf or elapsed_s < 1e-300


def test_a_rate_comes_to_what_is_steady_and_is_forgotten() -> None:
    rate = 0.0
    for _ in range(100):
        rate = smooth_rate(rate, 5, 0.05)
    assert math.isclose(rate, 100, rel_tol=0.01)
    for _ in range(100):
        rate = smooth_rate(rate, 0, 0.05)
    assert rate < 0.1


@given(orders=NUMBERS, workers=st.integers(0, 1_000), mean_s=st.floats(0, 10))
def test_a_bundle_is_never_empty_and_never_large(orders: int, workers: int, mean_s: float) -> None:
    size = bundle_size(orders=orders, workers=workers, mean=timedelta(seconds=mean_s))
    assert 1 <= size <= MAX_BUNDLE
    if timedelta(seconds=mean_s) > LONG:
        assert size == 1
    elif size > 1:
        assert orders // size >= 2 * max(workers, 1) - 1  # every worker has something to do
        assert size * timedelta(seconds=mean_s) <= SOON


def test_at_idle_an_order_travels_alone() -> None:
    assert bundle_size(orders=3, workers=4, mean=timedelta(milliseconds=1)) == 1


@given(PLACES, st.integers(1, 25), st.sampled_from([None, "north", "south"]))
def test_a_place_has_room_and_is_at_the_site(places: list[Place], weight: int, site: str | None) -> None:
    able = [place for place in places if place.slots - place.used >= weight and site in (None, place.site)]
    chosen = choose(places, weight=weight, site=site)
    if chosen is None:
        assert not able
    else:
        assert chosen in able
        trusted = [place for place in able if not place.doubted] or able
        assert chosen in trusted
        assert chosen.free == max(place.free for place in trusted)
