"""Celery: the task, and submitting it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from celery.worker.request import Request

from .given import BROKER, RESULTS, TALLY, filler
from .submitting import Submit, by_threads
from .tally import Tally

THREADS = 8
FILLER = filler(79)

tally = Tally(TALLY)
app = Celery("bench", broker=BROKER, backend=RESULTS or None)
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_ignore_result=not RESULTS,
    task_default_queue="bench",
)


class Counted(Request):
    """A request that is counted once its message is acknowledged."""

    def acknowledge(self) -> None:
        super().acknowledge()
        tally.done()


@app.task(name="noop", Request=Counted)
def noop(_filler: str) -> None:
    tally.started()


@contextmanager
def connected() -> Iterator[Submit]:
    with by_threads(lambda: noop.delay(FILLER), THREADS) as submit:
        yield submit
    app.close()
