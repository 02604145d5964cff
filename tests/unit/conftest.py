"""A scheduler on a desk, and a worker of calls for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from desk import Desk, Hand


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Lend a scheduler without a broker; what must always hold is looked at when the test is over."""
    desk = Desk()
    try:
        yield desk
        desk.check()
    finally:
        desk.close()


@pytest.fixture
def caller(desk: Desk) -> Hand:
    """Hire a worker of calls."""
    hand = Hand("call-a")
    desk.hire(hand)
    return hand
