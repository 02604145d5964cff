"""Taskiq on aio-pika: the task, and submitting it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.serializers import ORJSONSerializer
from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.queue import Queue, QueueType

from .given import BROKER, TALLY, filler
from .submitting import Submit, by_coroutines
from .tally import Tally

CONFIRMS_IN_FLIGHT = 100
PREFETCHED = 100
FILLER = filler(119)

tally = Tally(TALLY)


class Counting(TaskiqMiddleware):
    """Counts a message after its acknowledgement, which comes before this with `--ack-type when_executed`."""

    def post_save(self, _message: TaskiqMessage, _result: TaskiqResult[Any]) -> None:
        tally.done()


broker = (
    AioPikaBroker(BROKER, qos=PREFETCHED)
    .with_serializer(ORJSONSerializer())
    .with_queue(Queue(name="bench", type=QueueType.CLASSIC, durable=True))
    .with_middlewares(Counting())
)


@broker.task("noop")
async def noop(_filler: str) -> None:
    tally.started()


def connected() -> AbstractContextManager[Submit]:
    return by_coroutines(broker.startup, lambda: noop.kiq(FILLER), broker.shutdown, CONFIRMS_IN_FLIGHT)
