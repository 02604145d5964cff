"""The table of moves has no holes: what it allows is drawn, what it does not allow changes nothing."""

from __future__ import annotations

import itertools

import pytest

from warrener.errors import IllegalMove
from warrener.states import FINAL, HELD, IN_FLIGHT, MOVES, Move, State, may, move

PAIRS = list(itertools.product(State, Move))


@pytest.mark.parametrize(("state", "what"), PAIRS)
def test_a_move_is_in_the_table_or_raises(state: State, what: Move) -> None:
    if may(state, what):
        assert move(state, what) is MOVES[state, what]
    else:
        with pytest.raises(IllegalMove, match=f"a task that is {state} cannot {what}"):
            move(state, what)


def test_only_reopening_leaves_a_final_state() -> None:
    assert {what for state, what in MOVES if state in FINAL} == {Move.REOPEN}
    assert {state for state, what in MOVES if what is Move.REOPEN} <= FINAL
    assert {after for (_, what), after in MOVES.items() if what is Move.REOPEN} == {State.WAITING}


def test_success_is_never_reopened() -> None:
    assert not may(State.SUCCEEDED, Move.REOPEN)


def test_every_state_can_be_reached_from_waiting() -> None:
    assert _reachable(State.WAITING) == set(State)


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_every_state_leads_to_an_end(state: State) -> None:
    assert _reachable(state) & FINAL


@pytest.mark.parametrize("state", sorted(IN_FLIGHT))
def test_an_attempt_that_is_out_can_be_cancelled_and_succeed(state: State) -> None:
    assert may(state, Move.SUCCEED)
    assert state is State.CANCELLING or may(state, Move.CANCEL)


def test_what_is_held_is_in_flight() -> None:
    assert HELD < IN_FLIGHT
    assert not IN_FLIGHT & FINAL


def test_every_move_is_used() -> None:
    assert {what for _, what in MOVES} == set(Move)


def _reachable(start: State) -> set[State]:
    seen, edge = {start}, [start]
    while edge:
        state = edge.pop()
        after = {to for (origin, _), to in MOVES.items() if origin is state} - seen
        seen |= after
        edge.extend(after)
    return seen
