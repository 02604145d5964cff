"""FastStream on RabbitMQ: the task, and submitting it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue

from .given import BROKER, TALLY, filler
from .submitting import Submit, by_coroutines
from .tally import Tally

CONFIRMS_IN_FLIGHT = 100
PREFETCHED = 100
FILLER = filler(0)
QUEUE = RabbitQueue("bench", durable=True)

tally = Tally(TALLY)
broker = RabbitBroker(BROKER, default_channel=Channel(prefetch_count=PREFETCHED, publisher_confirms=True))
app = FastStream(broker)


@broker.subscriber(QUEUE, ack_policy=AckPolicy.MANUAL)
async def noop(_filler: str, message: RabbitMessage) -> None:
    tally.started()
    await message.ack()
    tally.done()


async def _start() -> None:
    await broker.connect()
    await broker.declare_queue(QUEUE)


def connected() -> AbstractContextManager[Submit]:
    return by_coroutines(
        _start, lambda: broker.publish(FILLER, queue=QUEUE, persist=True), broker.stop, CONFIRMS_IN_FLIGHT
    )
