"""The roll: the last heartbeat of every worker, and what silence means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from warrener.messages import Heartbeat, Kind
from warrener_services.gateway.roll import FORGOTTEN_AFTER, SILENT_AFTER, Roll

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def beat(**fields: Any) -> Heartbeat:
    whole = {
        "worker": "job-a", "boot": "b1", "seq": 5, "task_kind": Kind.JOB, "site": "local", "host": "a", "slots": 4,
        "free": 3,
    }  # fmt: skip
    return Heartbeat(**(whole | fields))


def test_a_worker_is_silent_when_it_was_not_heard_for_long() -> None:
    roll = Roll()
    roll.hear(beat(), NOW)
    (fresh,) = roll.call(NOW + SILENT_AFTER)
    (silent,) = roll.call(NOW + SILENT_AFTER + timedelta(seconds=1))
    assert (fresh.state, fresh.free) == ("up", 3)
    assert (silent.state, silent.free) == ("silent", 0)


def test_a_worker_that_says_goodbye_is_gone_and_later_forgotten() -> None:
    roll = Roll()
    roll.hear(beat(state="leaving"), NOW)
    assert roll.call(NOW)[0].state == "gone"
    assert roll.call(NOW + FORGOTTEN_AFTER + timedelta(seconds=1)) == []


def test_an_older_heartbeat_of_the_same_boot_changes_nothing() -> None:
    roll = Roll()
    roll.hear(beat(), NOW)
    roll.hear(beat(seq=4, free=0), NOW)
    assert roll.call(NOW)[0].free == 3
    roll.hear(beat(boot="b2", seq=1, free=1), NOW)
    assert roll.call(NOW)[0].free == 1


def test_workers_are_listed_by_kind_and_name() -> None:
    roll = Roll()
    for name, kind in (("z", Kind.ENV), ("b", Kind.JOB), ("a", Kind.JOB)):
        roll.hear(beat(worker=name, task_kind=kind), NOW)
    assert [worker.name for worker in roll.call(NOW)] == ["z", "a", "b"]
