"""How a task may move: one table, no I/O.

Every change of a task's state, wherever it is asked for, is a row of `MOVES`. `move` is the only way to apply one.
The store then writes it under a guard on the state it came from. `scripts/draw-states` draws the table.
"""

from __future__ import annotations

from enum import StrEnum

from warrener.errors import IllegalMove


class State(StrEnum):
    """Where a task stands."""

    __hash__ = str.__hash__  # Enum's own is a function in Python, and states are looked up for every move

    WAITING = "waiting"  # for what it needs, or for its retry time
    READY = "ready"  # for its turn and a free slot
    ORDERED = "ordered"  # an order is out; nobody holds the attempt yet
    RUNNING = "running"  # one worker holds the attempt under a lease
    UNREACHABLE = "unreachable"  # the holder is thought dead; its lease has not run out
    CANCELLING = "cancelling"  # wanted gone; the holder has not confirmed
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # its grace passed before anybody started it
    SKIPPED = "skipped"  # a branch not taken
    UPSTREAM_FAILED = "upstream_failed"  # something it needs did not succeed


class Move(StrEnum):
    """What may happen to a task."""

    __hash__ = str.__hash__

    NEEDS_MET = "needs_met"  # what it needs is there and its time has come
    ORDER = "order"  # the scheduler sends an order; a new attempt begins
    GRANT = "grant"  # the owner gives the attempt to one worker
    LOSE = "lose"  # gossip says the holder failed
    FIND = "find"  # the holder came back in time
    PLACE_ANEW = "place_anew"  # nobody claimed it in time, or its lease ran out
    RETRY = "retry"  # the attempt failed, and the task has tries left
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"  # a person wants it gone
    CONFIRM_CANCEL = "confirm_cancel"  # the holder stopped it, or cannot hold it any longer
    EXPIRE = "expire"
    SKIP = "skip"
    UPSTREAM_FAIL = "upstream_fail"
    REOPEN = "reopen"  # a person asks for another go at what ended badly


S, M = State, Move

MOVES: dict[tuple[State, Move], State] = {
    (S.WAITING, M.NEEDS_MET): S.READY,
    (S.WAITING, M.CANCEL): S.CANCELLED,
    (S.WAITING, M.EXPIRE): S.EXPIRED,
    (S.WAITING, M.SKIP): S.SKIPPED,
    (S.WAITING, M.UPSTREAM_FAIL): S.UPSTREAM_FAILED,
    (S.WAITING, M.FAIL): S.FAILED,  # its template met outputs it cannot use
    (S.READY, M.ORDER): S.ORDERED,
    (S.READY, M.CANCEL): S.CANCELLED,  # nobody holds it: no one to wait for
    (S.READY, M.EXPIRE): S.EXPIRED,
    (S.ORDERED, M.GRANT): S.RUNNING,
    (S.ORDERED, M.PLACE_ANEW): S.READY,
    (S.ORDERED, M.RETRY): S.WAITING,
    (S.ORDERED, M.SUCCEED): S.SUCCEEDED,  # a direct call
    (S.ORDERED, M.FAIL): S.FAILED,
    (S.ORDERED, M.CANCEL): S.CANCELLING,
    (S.RUNNING, M.LOSE): S.UNREACHABLE,
    (S.RUNNING, M.PLACE_ANEW): S.READY,
    (S.RUNNING, M.RETRY): S.WAITING,
    (S.RUNNING, M.SUCCEED): S.SUCCEEDED,
    (S.RUNNING, M.FAIL): S.FAILED,
    (S.RUNNING, M.CANCEL): S.CANCELLING,
    (S.UNREACHABLE, M.FIND): S.RUNNING,
    (S.UNREACHABLE, M.PLACE_ANEW): S.READY,
    (S.UNREACHABLE, M.RETRY): S.WAITING,
    (S.UNREACHABLE, M.SUCCEED): S.SUCCEEDED,
    (S.UNREACHABLE, M.FAIL): S.FAILED,
    (S.UNREACHABLE, M.CANCEL): S.CANCELLING,
    (S.CANCELLING, M.SUCCEED): S.SUCCEEDED,  # it was done before the kill
    (S.CANCELLING, M.CONFIRM_CANCEL): S.CANCELLED,
    (S.FAILED, M.REOPEN): S.WAITING,
    (S.CANCELLED, M.REOPEN): S.WAITING,
    (S.EXPIRED, M.REOPEN): S.WAITING,
    (S.UPSTREAM_FAILED, M.REOPEN): S.WAITING,
}

FINAL = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED, S.EXPIRED, S.SKIPPED, S.UPSTREAM_FAILED})
"""Where a task ends. Only a person's `reopen` leaves these, never a message."""

IN_FLIGHT = frozenset({S.ORDERED, S.RUNNING, S.UNREACHABLE, S.CANCELLING})
"""Where an attempt is out: an order on its way, or a worker that holds it."""

HELD = frozenset({S.RUNNING, S.UNREACHABLE})
"""Where a worker holds the attempt under a lease (a cancelling one may be held too: look at its holder)."""


def move(state: State, what: Move) -> State:
    """Return the state after a move; raises IllegalMove, and changes nothing, when the table has no such row."""
    try:
        return MOVES[state, what]
    except KeyError:
        raise IllegalMove(f"a task that is {state} cannot {what}") from None


def may(state: State, what: Move) -> bool:
    """Tell whether the table has this move."""
    return (state, what) in MOVES
