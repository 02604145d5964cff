"""The broker: whether it can be reached and used, a message goes round, and anybody is at its queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from warrener.brokers.examined import BrokerSeen, examine
from warrener.errors import BrokerUnavailable, InvalidSettings
from warrener.messages import Kind
from warrener.settings import Settings
from warrener.topology import EXCHANGES, PARKED_QUEUE, SUBMISSIONS, orders
from warrener.worker.program import worker_name

from .findings import Finding, fault, unused, warning, well

_ABOUT = "broker"
_TESTED = ((3, 10), (4, 3))
"""The range of RabbitMQ's versions that are known."""
_SLOW_S = 0.5
_HEARTBEATS_S = (1, 30)
_QUEUES = (SUBMISSIONS.name, PARKED_QUEUE.name, *(orders(kind.value).name for kind in Kind if kind is not Kind.CALL))


async def look(settings: Settings) -> list[Finding]:
    """Look at the broker of the settings."""
    if settings.broker.startswith("memory:"):
        where = (
            "gossip has not told where it is" if settings.join else "`warrener up` has its broker in its own process"
        )
        return [unused(_ABOUT, f"WARRENER_BROKER is not set: {where}")]
    try:
        nodes = await examine(settings.broker, _QUEUES, _owners(settings))
    except InvalidSettings as error:
        return [fault(_ABOUT, str(error), "correct it: no program starts before")]
    return list(judge_nodes(nodes))


def _owners(settings: Settings) -> list[str]:
    """Return who may own a queue here: workers by their names, elastic by its own; other programs may take any."""
    workers = [worker_name(settings, kind) for kind in Kind if kind is not Kind.CALL]
    return [*dict.fromkeys(workers), "elastic"]


def judge_nodes(nodes: Sequence[BrokerSeen | BrokerUnavailable]) -> Iterator[Finding]:
    """Say what there is to say of a broker of one node or several, of which one is enough for programs."""
    seen = next((node for node in nodes if isinstance(node, BrokerSeen)), None)
    for node in nodes:
        if isinstance(node, BrokerUnavailable) and seen:
            yield warning(_ABOUT, str(node), "start it; programs use the other nodes meanwhile")
        elif isinstance(node, BrokerUnavailable):
            yield fault(_ABOUT, str(node), "start it, or set WARRENER_BROKER to amqp://user:password@host:port/vhost")
    if seen:
        yield from judge(seen)


def judge(seen: BrokerSeen) -> Iterator[Finding]:
    """Say what there is to say of a broker that lets us in."""
    named = f"{seen.product} {seen.version} at {seen.where}"
    if seen.alarm:
        yield fault(_ABOUT, seen.alarm, "free memory or disk on its host, or raise its watermarks")
    if len(seen.missing) == len(EXCHANGES):
        yield well(
            _ABOUT, f"{named}; empty: the first program whose user may configure ^warrener\\. makes the exchanges"
        )
    elif seen.missing:
        yield fault(
            _ABOUT,
            f"{named}: the exchanges {', '.join(seen.missing)} are missing",
            "let a user who may configure ^warrener\\. start one program once (docs/operating.md)",
        )
    elif seen.refused:
        yield warning(
            _ABOUT,
            f"{named}; this user may not send itself a message, so none was tried: {seen.refused}",
            "well for a client's user; a program's needs the permissions of docs/operating.md",
        )
    elif seen.round_s is None:
        yield fault(_ABOUT, f"{named}: a message did not come round", "look into the broker's log; is it blocked?")
    elif seen.round_s > _SLOW_S:
        yield warning(
            _ABOUT, f"{named}: a message took {seen.round_s:.1f} s there and back", "look at its load and disk"
        )
    else:
        yield well(_ABOUT, f"{named}; a message went round in {seen.round_s * 1000:.0f} ms")
    yield from _judge_version(seen)
    yield from _judge_times(seen)
    yield from _judge_queues(seen)


def _judge_version(seen: BrokerSeen) -> Iterator[Finding]:
    number = _version(seen.version)
    if seen.product != "RabbitMQ":
        yield warning(_ABOUT, f"{seen.product} is not RabbitMQ", "use RabbitMQ 3.10 to 4.x: nothing else was tried")
    elif number < _TESTED[0]:
        yield fault(_ABOUT, f"RabbitMQ {seen.version} is too old", "upgrade it to 3.10 or newer")
    elif number > _TESTED[1]:
        yield warning(_ABOUT, f"RabbitMQ {seen.version} is newer than what was tried (4.x)", "watch its log at first")


def _judge_times(seen: BrokerSeen) -> Iterator[Finding]:
    least, most = _HEARTBEATS_S
    if not least <= seen.heartbeat_s <= most:
        yield warning(
            "broker time-outs",
            f"the broker agreed to heartbeats of {seen.heartbeat_s} s (0: none): its death is noticed late",
            "set `heartbeat` in rabbitmq.conf to 5 or more, at most 30",
        )
    else:
        yield well(
            "broker time-outs",
            f"heartbeats every {seen.heartbeat_s} s, so its death is noticed within {3 * (seen.heartbeat_s + 1)} s;"
            " messages are settled within seconds, so any consumer_timeout from a minute on will do",
        )


def _judge_queues(seen: BrokerSeen) -> Iterator[Finding]:
    parked = seen.queues.get(PARKED_QUEUE.name)
    if parked is not None and parked.messages:
        yield warning(
            "broker queues",
            f"{parked.messages} parked messages have not been taken by a scheduler yet",
            "start a scheduler; then `warrener parked list` shows them",
        )
    for name in _QUEUES:
        queue = seen.queues.get(name)
        if queue is not None and not queue.consumers and name != PARKED_QUEUE.name:
            waiting = f"{queue.messages} messages wait in" if queue.messages else "nobody is at"
            who = "a scheduler" if name == SUBMISSIONS.name else f"a worker of {name.removeprefix('orders.')}"
            yield warning("broker queues", f"{waiting} the queue {name}", f"start {who}")


def _version(text: str) -> tuple[int, int]:
    parts = [int(part) if part.isdecimal() else 0 for part in text.split(".")[:2]]
    major, minor = [*parts, 0, 0][:2]
    return major, minor
