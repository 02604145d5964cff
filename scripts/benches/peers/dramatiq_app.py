"""Dramatiq: the task, and submitting it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from .given import BROKER, TALLY, filler
from .submitting import Submit, by_threads
from .tally import Tally

THREADS = 4
FILLER = filler(165)

tally = Tally(TALLY)


class Counting(dramatiq.Middleware):
    """Counts a message once it is acknowledged."""

    def after_ack(self, _broker: dramatiq.Broker, _message: dramatiq.MessageProxy) -> None:
        tally.done()


broker = RabbitmqBroker(url=BROKER, confirm_delivery=True)
broker.add_middleware(Counting())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def noop(_filler: str) -> None:
    tally.started()


@contextmanager
def connected() -> Iterator[Submit]:
    with by_threads(lambda: noop.send(FILLER), THREADS) as submit:
        yield submit
    broker.close()
