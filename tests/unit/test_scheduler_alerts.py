"""What a scheduler alerts, in the transaction of what caused it."""

from __future__ import annotations

from desk import Desk, Hand, call
from warrener.alerts import AlertKind
from warrener.errors import Cause
from warrener.ids import RunId
from warrener.messages import Outcome
from warrener.store import Changes


def told(desk: Desk) -> list[tuple[str, str, bool]]:
    rows = desk.do(lambda tx: tx.alerts.unsorted(100))
    return [(row.alert.kind, row.alert.subject, row.alert.over) for row in rows]


def test_what_succeeds_and_what_is_tried_again_is_no_alert(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(retry={"count": 1, "delay": "1s"}), "b": call(needs=["a"])})
    desk.deliver(caller.report(desk.take_order("a"), Outcome.FAILED, cause=Cause.ERROR))
    desk.wait(seconds=2)
    desk.deliver(caller.report(desk.take_order("a")))
    desk.deliver(caller.report(desk.take_order("b")))

    assert desk.run(run).state == "succeeded"
    assert told(desk) == []


def test_a_task_that_failed_for_good_is_one_alert_until_it_gets_another_go(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(), "b": call(needs=["a"])})
    message = "ValueError: no\nsecond line\npassword=hunter2"
    desk.deliver(caller.report(desk.take_order("a"), Outcome.FAILED, cause=Cause.ERROR, message=message))

    assert told(desk) == [(AlertKind.TASK_FAILED, f"{run}/a", False)]
    (row,) = desk.do(lambda tx: tx.alerts.unsorted(9))
    assert row.alert.text.endswith("failed: ValueError: no")
    assert row.alert.owner == desk.run(run).owner
    assert row.alert.excerpt == "second line\npassword=***"
    assert row.alert.look == f"warrener status {run}/a"
    retry(desk, run)
    assert told(desk)[1:] == [(AlertKind.TASK_FAILED, f"{run}/a", True)]


def retry(desk: Desk, run: RunId) -> None:
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "retry", desk.now)])))
    desk.wait(seconds=2)


def test_a_grace_that_was_missed_is_an_alert(desk: Desk) -> None:
    run = desk.submit({"a": call(grace="10s"), "b": call(needs=["a"])})
    desk.wait(seconds=11)
    assert told(desk) == [(AlertKind.GRACE_MISSED, f"{run}/a", False)]
    retry(desk, run)
    assert told(desk)[1] == (AlertKind.GRACE_MISSED, f"{run}/a", True)


def test_a_result_that_comes_late_is_an_alert_that_is_over(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(deadline="10s"), "b": call(deadline="1h")})
    late, early = desk.take_order("a"), desk.take_order("b")
    desk.wait(seconds=15)
    desk.deliver(caller.report(late), caller.report(early))

    assert told(desk) == [
        (AlertKind.DEADLINE_MISSED, f"{run}/a", False),
        (AlertKind.DEADLINE_MISSED, f"{run}/a", True),
    ]


def test_a_cancelled_run_is_no_alert(desk: Desk, caller: Hand) -> None:
    run = desk.submit({"a": call(), "b": call(needs=["a"])})
    desk.do(lambda tx: tx.write(Changes(wanted=[(run, "cancel", desk.now)])))
    desk.wait(seconds=2)
    desk.wait(seconds=10)

    assert desk.run(run).state == "cancelled"
    assert told(desk) == []


def test_a_parked_message_is_an_alert(desk: Desk) -> None:
    desk.deliver(desk.delivery(b"rubbish", kind="nonsense/1", message_id="m1\r\nx"))

    ((kind, subject, _),) = told(desk)
    assert (kind, subject) == (AlertKind.MESSAGE_PARKED, "m1 x")
