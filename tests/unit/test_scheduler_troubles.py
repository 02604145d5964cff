"""Which trouble is a host's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from warrener.ids import RunId
from warrener.states import State
from warrener.store import TaskRow
from warrener_services.scheduler.troubles import LATELY, Troubles

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TASK = TaskRow(
    run=RunId("r"), n=0, shard=0, name="a", kind="stage", lane="stage", workflow="w", section="{}", templated=False,
    policy="{}", priority=4, weight=1, deadline_at=NOW, fanout=0, state=State.RUNNING, unmet=0, level=5, ready_at=NOW,
)  # fmt: skip


def test_a_failure_is_the_hosts_own_where_another_could_and_nobody_else_failed() -> None:
    troubles = Troubles()
    assert not troubles.is_own(TASK, "a", NOW), "nobody could"
    troubles.went_well("stage", "b", NOW)
    assert troubles.is_own(TASK, "a", NOW)
    assert not troubles.is_own(TASK, "c", NOW), "a failed too"
    assert not troubles.is_own(TASK, "c", NOW + LATELY), "that somebody could is long ago"


def test_hosts_that_come_and_go_are_not_kept() -> None:
    troubles = Troubles()
    for n in range(100):
        now = NOW + n * timedelta(minutes=1)
        troubles.went_well("stage", f"container-{n}", now)
        troubles.is_own(TASK, f"container-{n}", now)
    kept = LATELY / timedelta(minutes=1)
    assert len(troubles._went_well) == len(troubles._failed["w", "a"]) == kept


def test_who_is_seen_again_and_again_is_kept() -> None:
    troubles = Troubles()
    for n in range(100):
        troubles.went_well("stage", "b", NOW + n * timedelta(minutes=1))
        troubles.went_well("env", "c", NOW + n * timedelta(minutes=1))
    assert list(troubles._went_well) == [("stage", "b"), ("env", "c")]
