"""How a worker of several kinds divides its slots: bounds, an end, and no way back."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from warrener.dividing import Bounds, Want, divide, first_division, wrong_bounds

LANES = {"env": Bounds(), "stage": Bounds(), "job": Bounds()}
NAMES = ["env", "stage", "job", "call.app"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, Bounds], dict[str, Want]]:
    names = NAMES[: draw(st.integers(1, 4))]
    lanes = {name: Bounds(least := draw(st.integers(0, 4)), least + draw(st.integers(0, 12))) for name in names}
    held = {name: draw(st.integers(bounds.least, bounds.most)) for name, bounds in lanes.items()}
    want = st.builds(Want, wanted=st.integers(0, 60), slots=st.integers(0, 40), heaviest=st.integers(1, 8))
    return held, lanes, {name: draw(want) for name in draw(st.sets(st.sampled_from(names)))}


def alone(held: dict[str, int], wants: dict[str, Want]) -> dict[str, Want]:
    """Tell of a fleet of this one worker."""
    return {lane: replace(want, slots=held[lane]) for lane, want in wants.items()}


def wanting(**slots: int) -> dict[str, Want]:
    return {lane: Want(wanted) for lane, wanted in slots.items()}


def test_an_idle_lane_gives_all_but_its_least_to_one_with_a_backlog() -> None:
    assert divide({"env": 4, "stage": 4, "job": 4}, LANES, wanting(job=100)) == {"env": 1, "stage": 1, "job": 10}


def test_no_more_moves_than_are_needed() -> None:
    assert divide({"env": 4, "stage": 4, "job": 4}, LANES, wanting(job=6)) == {"env": 3, "stage": 3, "job": 6}


def test_without_a_backlog_nothing_moves() -> None:
    held = {"env": 8, "stage": 2, "job": 2}
    assert divide(held, LANES, wanting(job=2, stage=2)) == held


def test_lanes_with_backlogs_share_by_them() -> None:
    assert divide({"env": 4, "stage": 4, "job": 4}, LANES, wanting(env=0, stage=30, job=60)) in (
        {"env": 1, "stage": 4, "job": 7},
        {"env": 1, "stage": 3, "job": 8},
    )


def test_a_lane_never_has_more_than_its_most() -> None:
    lanes = {"env": Bounds(1, 8), "job": Bounds(1, 5)}
    assert divide({"env": 4, "job": 4}, lanes, wanting(job=100)) == {"env": 3, "job": 5}


def test_a_lane_may_be_left_without_a_slot_and_gets_one_back() -> None:
    lanes = {"env": Bounds(0), "job": Bounds(0)}
    assert divide({"env": 4, "job": 4}, lanes, wanting(job=100)) == {"env": 0, "job": 8}
    assert divide({"env": 0, "job": 8}, lanes, wanting(job=100, env=1)) == {"env": 1, "job": 7}


def test_a_heavy_task_gets_room_however_much_others_want() -> None:
    wants = {"env": Want(200), "job": Want(4, heaviest=4)}
    assert divide({"env": 6, "job": 2}, {"env": Bounds(), "job": Bounds()}, wants) == {"env": 4, "job": 4}


def test_each_of_many_workers_moves_its_part() -> None:
    wants = {"env": Want(0, slots=40), "job": Want(20, slots=10)}
    lanes = {"env": Bounds(), "job": Bounds()}
    assert divide({"env": 4, "job": 1}, lanes, wants) == {"env": 3, "job": 2}  # ten more are wanted, this is a tenth
    wants = {"env": Want(0, slots=40), "job": Want(15, slots=10)}
    assert divide({"env": 4, "job": 1}, lanes, wants, chance=0.4) == {"env": 4, "job": 1}
    assert divide({"env": 4, "job": 1}, lanes, wants, chance=0.6) == {"env": 3, "job": 2}


def test_other_workers_of_a_lane_count() -> None:
    held = {"env": 2, "job": 2}
    assert divide(held, {"env": Bounds(), "job": Bounds()}, {"job": Want(50, slots=100)}) == held


@given(cases())
def test_the_sum_is_the_budget_and_bounds_hold(case: tuple[dict[str, int], dict[str, Bounds], dict[str, Want]]) -> None:
    held, lanes, wants = case
    divided = divide(held, lanes, wants)
    assert sum(divided.values()) == sum(held.values())
    assert all(lanes[lane].least <= slots <= lanes[lane].most for lane, slots in divided.items())


@given(cases())
def test_under_constant_demand_it_comes_to_rest_after_one_division(
    case: tuple[dict[str, int], dict[str, Bounds], dict[str, Want]],
) -> None:
    held, lanes, wants = case
    divided = divide(held, lanes, alone(held, wants))
    assert divide(divided, lanes, alone(divided, wants)) == divided


@given(cases())
def test_nobody_gives_who_then_lacks_as_much_as_the_taker_did(
    case: tuple[dict[str, int], dict[str, Bounds], dict[str, Want]],
) -> None:
    held, lanes, wants = case
    light = {lane: replace(want, heaviest=1) for lane, want in alone(held, wants).items()}
    divided = divide(held, lanes, light)
    lack = [light[lane].wanted / max(held[lane], 0.001) for lane in light if divided[lane] > held[lane]]
    for lane, want in light.items():
        if divided[lane] < held[lane]:
            assert want.wanted <= divided[lane] * max(lack) / 1.2


@given(st.randoms(), st.integers(2, 12), st.dictionaries(st.sampled_from(NAMES[:3]), st.integers(0, 200), min_size=1))
def test_a_fleet_of_many_comes_to_rest(rng: Random, workers: int, wanted: dict[str, int]) -> None:
    fleet = [{"env": 2, "stage": 2, "job": 2} for _ in range(workers)]
    for _ in range(60):
        wants = {
            lane: Want(wanted.get(lane, 0), slots=sum(held[lane] for held in fleet)) for lane in ("env", "stage", "job")
        }
        after = [divide(held, LANES, wants, chance=min(rng.random(), 0.999)) for held in fleet]
        if after == fleet:
            break
        fleet = after
    else:
        raise AssertionError(f"still moving: {fleet[:3]}")


@given(cases(), st.integers(0, 60))
def test_the_first_division_keeps_the_bounds_that_can_be_kept(
    case: tuple[dict[str, int], dict[str, Bounds], dict[str, Want]], budget: int
) -> None:
    _, lanes, _ = case
    wrong = wrong_bounds(lanes, budget)
    if wrong is None:
        held = first_division(lanes, budget)
        assert sum(held.values()) == budget
        assert all(lanes[lane].least <= slots <= lanes[lane].most for lane, slots in held.items())
    else:
        assert str(budget) in wrong
