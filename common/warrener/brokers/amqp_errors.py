"""The AMQP library's errors, as sentences about the broker, without passwords."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq.exceptions import (
    AMQPError,
    ChannelInvalidStateError,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from warrener.errors import BrokerUnavailable, plain_words

# The library writes a line for each try of an outage; ours is one per outage.
logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)

FAILURES = (AMQPError, ChannelInvalidStateError, OSError, EOFError, TimeoutError)
"""What the library raises when the broker, the connection or a channel is not as it should be."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the library's errors into BrokerUnavailable; `doing` begins the sentence.

    A pending call on a connection that breaks may end with CancelledError although nobody cancelled the
    caller's task; that one is translated too, and a real cancellation passes.
    """
    task = asyncio.current_task()
    requests = task.cancelling() if task is not None else 0
    try:
        yield
    except asyncio.CancelledError as error:
        if task is None or task.cancelling() > requests:
            raise
        raise BrokerUnavailable(f"{doing}: the connection was lost meanwhile") from error
    except FAILURES as error:
        raise BrokerUnavailable(f"{doing}: {explain(error)}") from error


def explain(error: BaseException) -> str:
    """Return why, for people."""
    if isinstance(error, BrokerUnavailable):
        return str(error)
    if isinstance(error, ProbableAuthenticationError):
        return "the broker refused the user or the password; check WARRENER_BROKER"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in _text(error):
        # The library drops the broker's own words here; there are no other reasons than these.
        return "the broker refused the virtual host (missing, or not this user's); check WARRENER_BROKER"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"
    return plain_words(_text(error))


def _text(error: BaseException) -> str:
    words = [str(part) for part in error.args if part not in (None, "") and not isinstance(part, int)]
    return " ".join(words) or type(error).__name__
