"""What leaves a tick after its commit: answers to workers, orders, events, replies.

Orders and events of runs are posted: they stand in the outbox until the broker has confirmed them. Answers, replies and
events of tasks are loose: a lost one is asked for again, or missed by nobody.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from warrener.broker import Message
from warrener.ids import BootId, new_token, shard_of
from warrener.messages import (
    Answers,
    AttemptPart,
    Body,
    Event,
    Events,
    Extension,
    Grant,
    Limit,
    Receipt,
    Refusal,
    Stop,
    Wake,
    encode,
)
from warrener.store import RunRow, TaskRow
from warrener.topology import CONTROL, EVENTS, REPORTS

if TYPE_CHECKING:
    from .tick import Rules

T = TypeVar("T")

_ANSWERS_LIVE = timedelta(seconds=60)
_WAKES_LIVE = timedelta(seconds=5)
_EVENTS_A_MESSAGE = 1_000


@dataclass(slots=True)
class _Told:
    """What one life of one worker is told."""

    grants: list[Grant] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    limit: Limit | None = None


class Outgoing:
    """Collects during a tick; `posted` and `loose` are complete after `close`."""

    def __init__(self, rules: Rules, now: datetime) -> None:
        self.posted: list[tuple[int, Message]] = []
        self.loose: list[Message] = []
        self._rules, self._now = rules, now
        self._told: dict[tuple[str, str], _Told] = defaultdict(_Told)
        self._woken: set[int] = set()
        self._run_events: list[Event] = []
        self._task_events: list[str] = []  # as JSON: there are more of them than of anything else
        self._moment = now.isoformat()

    def tell(self, worker: str, boot: str) -> _Told:
        """Return the lists of what a worker will be told."""
        return self._told[worker, boot]

    def stop(self, row: TaskRow, reason: str) -> None:
        """Tell the holder of an attempt, if there is one, to stop it."""
        if row.worker is not None and row.boot is not None:
            stop = Stop(run=row.run, n=row.n, attempt=row.attempt, reason=reason)
            self.tell(row.worker, row.boot).stops.append(stop)

    def extend(self, worker: str, boot: str, seq: int, attempts: list[AttemptPart]) -> None:
        self.tell(worker, boot).extensions.append(Extension(seq=seq, attempts=attempts))

    def order(self, shard: int, message: Message) -> None:
        self.posted.append((shard, message))

    def reply(self, queue: str, correlation_id: str | None, body: Body) -> None:
        """Answer a client on the queue that it named."""
        message = self._message("", queue, body)
        self.loose.append(
            Message(
                exchange=message.exchange, routing_key=queue, kind=message.kind, body=message.body,
                message_id=message.message_id, durable=False, correlation_id=correlation_id,
            )
        )  # fmt: skip

    def forward(self, shard: int, body: Body) -> None:
        """Pass on, to the owner of its shard, what came to us by mistake or too late."""
        self.posted.append((shard, self._message(REPORTS, str(shard), body)))

    def wake(self, shard: int) -> None:
        """Tell the owner of a shard, which is another scheduler, that something was written for it."""
        self._woken.add(shard)

    def hint(self, topic: str, body: Body) -> None:
        """Say something to every program that listens to a control topic; nobody misses it if it gets lost."""
        self.loose.append(
            Message(
                exchange=CONTROL, routing_key=topic, kind=body.KIND, body=encode(body),
                message_id=new_token(self._rules.rng), durable=False, mandatory=False,
            )
        )  # fmt: skip

    def run_event(self, run: RunRow) -> None:
        self._run_events.append(Event(run=run.id, owner=run.owner, key=run.key, state=run.state, at=self._now))

    def task_event(self, row: TaskRow) -> None:
        said = f',"message":{json.dumps(row.message[:200])}' if row.message else ""
        self._task_events.append(
            f'{{"run":"{row.run}","owner":"","n":{row.n},"task":{json.dumps(row.name)},"state":"{row.state.value}",'
            f'"attempt":{row.attempt},"at":"{self._moment}"{said}}}'
        )

    def close(self) -> None:
        """Write the collected answers and events as messages."""
        for (worker, boot), told in self._told.items():
            body = Answers(
                boot=BootId(boot), grants=told.grants, refusals=told.refusals, receipts=told.receipts,
                stops=told.stops, extensions=told.extensions, limit=told.limit,
            )  # fmt: skip
            self.loose.append(self._message(REPORTS, f"answers.{worker}", body, priority=9, expires=_ANSWERS_LIVE))
        for events in _parcels(self._run_events):
            shard = shard_of(events[0].run)
            message = self._message(EVENTS, "runs", Events(events=events), mandatory=False)
            self.posted.append((shard, message))
        for written in _parcels(self._task_events):
            raw = f'{{"kind":"{Events.KIND}","events":[{",".join(written)}]}}'.encode()
            self.loose.append(self._written(EVENTS, "tasks", Events.KIND, raw, mandatory=False))
        for shard in sorted(self._woken):  # to its owner alone: for the others it would be a tick for nothing
            wake = Wake(shards=[shard])
            self.loose.append(self._message(REPORTS, str(shard), wake, mandatory=False, expires=_WAKES_LIVE))
        self._told.clear()
        self._woken.clear()

    def _message(
        self,
        exchange: str,
        routing_key: str,
        body: Body,
        *,
        priority: int = 4,
        mandatory: bool = True,
        expires: timedelta | None = None,
    ) -> Message:
        return self._written(
            exchange, routing_key, body.KIND, encode(body), priority=priority, mandatory=mandatory, expires=expires
        )

    def _written(
        self,
        exchange: str,
        routing_key: str,
        kind: str,
        body: bytes,
        *,
        priority: int = 4,
        mandatory: bool = True,
        expires: timedelta | None = None,
    ) -> Message:
        return Message(
            exchange=exchange, routing_key=routing_key, kind=kind, body=body,
            message_id=new_token(self._rules.rng), priority=priority, mandatory=mandatory,
            durable=expires is None, expires=expires,
        )  # fmt: skip


def _parcels(events: list[T]) -> list[list[T]]:
    return [events[start : start + _EVENTS_A_MESSAGE] for start in range(0, len(events), _EVENTS_A_MESSAGE)]
