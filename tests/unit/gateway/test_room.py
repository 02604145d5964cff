"""The gateway takes so much at a time, and no more."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from warrener.errors import Overloaded
from warrener_services.gateway.room import Room


def test_what_is_one_too_many_is_refused_with_the_limit_and_what_to_do() -> None:
    room = Room(requests=10, submissions=2)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(room.held_for(submission=True, size_bytes=10))
        with pytest.raises(Overloaded, match=r"at most 2 submissions at a time.*nothing was done, try again in 1 s"):
            held.enter_context(room.held_for(submission=True, size_bytes=10))
        with room.held_for(submission=False, size_bytes=0):
            pass  # whoever only looks is not kept out


def test_bodies_are_counted_by_their_bytes() -> None:
    room = Room(size_bytes=1000)
    with room.held_for(submission=True, size_bytes=700):
        with pytest.raises(Overloaded, match="1,000 bytes of bodies"), room.held_for(submission=True, size_bytes=400):
            pass
        with room.held_for(submission=True, size_bytes=300):
            pass


def test_there_is_room_again_when_an_answer_was_sent_or_a_request_broke() -> None:
    room = Room(requests=1)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken"), room.held_for(submission=True, size_bytes=1):
            raise RuntimeError("broken")
    with room.held_for(submission=True, size_bytes=1):
        pass
