"""Slots, and what waits for them."""

from __future__ import annotations

from typing import Any, cast

from owner import Owner
from warrener.messages import Kind
from warrener.worker.slots import Slots
from warrener.worker.work import Bundle


def offer(slots: Slots, owner: Owner, numbers: range, **fields: Any) -> Bundle:
    bundle = Bundle(cast("Any", None), cast("Any", None), home=0, direct=True, left=len(numbers))
    slots.offer(bundle, [owner.make(n, kind=Kind.CALL, app="app", **fields) for n in numbers])
    return bundle


def test_there_is_room_while_the_slots_are_more_than_what_waits_needs() -> None:
    slots, owner = Slots(4), Owner()
    offer(slots, owner, range(3))
    assert slots.room.is_set()  # they will be begun in a moment: a slow one must not send the others away
    offer(slots, owner, range(3, 4))
    assert not slots.room.is_set()
    begun = [slots.next(lambda _: False) for _ in range(4)]
    assert not slots.room.is_set()
    for item in begun:
        assert item is not None
        slots.release(item.order)
    assert slots.room.is_set()


def test_a_heavy_order_that_waits_leaves_no_room() -> None:
    slots, owner = Slots(4), Owner()
    offer(slots, owner, range(2))
    offer(slots, owner, range(2, 3), weight=3)
    assert slots.next(lambda _: False) is not None
    assert slots.next(lambda _: False) is not None
    assert slots.next(lambda _: False) is None
    assert (slots.free, slots.room.is_set()) == (2, False)
    slots.take_back()
    assert slots.room.is_set()


def test_what_came_before_is_passed_over_and_no_longer_counted() -> None:
    slots, owner = Slots(2), Owner()
    offer(slots, owner, range(2))
    assert slots.next(lambda _: True) is None
    assert (slots.free, slots.room.is_set()) == (2, True)


def test_withheld_slots_are_not_filled_and_what_runs_runs_on() -> None:
    slots, owner = Slots(4), Owner()
    offer(slots, owner, range(4))
    assert slots.next(lambda _: False) is not None
    slots.restrain(by_load=3, limit=None)
    assert slots.next(lambda _: False) is None
    assert (slots.open, slots.free, slots.room.is_set()) == (0, 3, False)
    slots.restrain(by_load=4, limit=None)
    assert slots.open == -1
    slots.restrain(by_load=0, limit=None)
    assert slots.next(lambda _: False) is not None


def test_without_an_open_slot_there_is_no_room() -> None:
    slots = Slots(4)
    slots.restrain(by_load=4, limit=None)
    assert not slots.room.is_set()
    slots.restrain(by_load=3, limit=None)
    assert slots.room.is_set()


def test_a_limit_holds_also_when_the_count_grows() -> None:
    slots = Slots(2, most=8)
    slots.restrain(by_load=0, limit=1)
    slots.grow(6)
    assert (slots.count, slots.open, slots.withheld) == (8, 1, 7)
    slots.restrain(by_load=0, limit=None)
    assert slots.open == 8
