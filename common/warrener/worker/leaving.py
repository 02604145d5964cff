"""SIGUSR1 drains a worker: it takes nothing more, and its program ends as planned once nothing runs.

Unlike SIGTERM, which stops soon and leaves jobs to their runners for the next life of the worker, this is for a worker
that will not come back.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNAL = signal.SIGUSR1

_told: list[Callable[[], None]] = []


@contextmanager
def drained_by_signal(drain: Callable[[], None]) -> Iterator[None]:
    """Call `drain` when the signal comes, of every worker of this process; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    if not _told:
        loop.add_signal_handler(SIGNAL, _tell_all)
    _told.append(drain)
    try:
        yield
    finally:
        _told.remove(drain)
        if not _told:
            loop.remove_signal_handler(SIGNAL)


def _tell_all() -> None:
    for drain in tuple(_told):
        drain()
