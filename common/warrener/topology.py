"""The names of exchanges, queues and routing keys; the public AMQP contract rests on them.

warrener.orders   direct  <kind> | call.<app> | worker.<worker>   → orders.<the same>
warrener.reports  direct  <shard> | submissions | answers.<worker> → reports.<shard>, submissions, answers.<worker>
                          | alerts                                → alerts
warrener.events   topic   runs | tasks                            → whoever binds
warrener.control  topic   heartbeat | rollcall | wake | demand |   → every scheduler, worker, gossip, gateway and
                          member | elastic                           elastic, each its own
warrener.parked   fanout                                          → parked
"""

from __future__ import annotations

from datetime import timedelta

from warrener.broker import Queue

ORDERS = "warrener.orders"
REPORTS = "warrener.reports"
EVENTS = "warrener.events"
CONTROL = "warrener.control"
PARKED = "warrener.parked"

EXCHANGES: dict[str, str] = {
    ORDERS: "direct",
    REPORTS: "direct",
    EVENTS: "topic",
    CONTROL: "topic",
    PARKED: "fanout",
}
"""Every exchange and its type; all durable."""

SUBMISSIONS = Queue(
    "submissions", [(REPORTS, "submissions")], max_length=10_000, max_bytes=64 * 1024 * 1024, refuses=True
)
"""Bounded: a flood is refused at the door, at once, instead of filling the broker's memory and disk."""
PARKED_QUEUE = Queue("parked", [(PARKED, "")])
ALERTS = Queue("alerts", [(REPORTS, "alerts")], max_length=10_000, max_bytes=64 * 1024 * 1024)
"""Bounded: nobody may fill the broker with alerts. The oldest of more than that are dropped."""

REFUSING: dict[tuple[str, str], Queue] = dict.fromkeys(SUBMISSIONS.bindings, SUBMISSIONS)
"""The queues that refuse what they cannot hold, by exchange and routing key: a broker's refusal names no queue."""

_ANSWERS_LIVE = timedelta(hours=24)
_WORKER_ORDERS_LIVE = timedelta(hours=24)


def orders(lane: str) -> Queue:
    """Return the queue of a lane: `env`, `stage`, `job`, `call.<app>`, or `worker.<worker>`."""
    expires = _WORKER_ORDERS_LIVE if lane.startswith("worker.") else None
    return Queue(f"orders.{lane}", [(ORDERS, lane)], expires=expires)


def reports(shard: int) -> Queue:
    """Return the queue on which the owner of a shard hears from workers."""
    return Queue(f"reports.{shard}", [(REPORTS, str(shard))])


def answers(worker: str) -> Queue:
    """Return the queue on which a worker hears from owners."""
    return Queue(f"answers.{worker}", [(REPORTS, f"answers.{worker}")], expires=_ANSWERS_LIVE)


def control(who: str, *topics: str) -> Queue:
    """Return a program's own queue for these control topics; it goes away with the program."""
    return Queue(f"control.{who}", [(CONTROL, topic) for topic in topics], exclusive=True)


def events(who: str, *topics: str) -> Queue:
    """Return a watcher's own queue of events; bounded, so that a dead watcher cannot fill the broker's disk."""
    return Queue(f"events.{who}", [(EVENTS, topic) for topic in topics], exclusive=True, max_length=100_000)
