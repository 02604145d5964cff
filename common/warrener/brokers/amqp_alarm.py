"""The broker's alarms: out of memory or disk, it stops reading from whoever publishes, and says so.

What is written into such a connection lies in its buffers until the alarm is over, and then arrives all at once. So
nothing more is written: publishers wait for the end of the alarm, for as long as they may, and are told its reason.
"""

from __future__ import annotations

import asyncio

import structlog
from aio_pika.abc import AbstractConnection
from aiormq import spec

from warrener.errors import BrokerBlocked

log = structlog.get_logger(__name__)

_NAMES = {"low on memory": "memory alarm", "low on disk": "disk alarm", "low on memory & disk": "memory and disk alarm"}
"""What RabbitMQ says, and what its own tools call it."""

_BLOCKED = "_Connection__handle_connection_blocked"
_UNBLOCKED = "_Connection__handle_connection_unblocked"
"""The library keeps what the broker says to itself: these methods of its connections are all that hears it."""


class Alarm:
    """Whether the broker reads from the present connection, and if not, why."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._over = asyncio.Event()
        self._over.set()
        self.reason = ""
        """Empty while there is no alarm."""

    def watch(self, connection: AbstractConnection) -> None:
        """Hear of alarms on a new connection, which begins without one."""
        self._end()
        assert connection.transport is not None
        lower = connection.transport.connection
        hear_blocked, hear_unblocked = getattr(lower, _BLOCKED), getattr(lower, _UNBLOCKED)

        async def blocked(frame: spec.Connection.Blocked) -> None:
            self._begin(str(frame.reason))
            await hear_blocked(frame)

        async def unblocked(frame: spec.Connection.Unblocked) -> None:
            self._end()
            await hear_unblocked(frame)

        setattr(lower, _BLOCKED, blocked)
        setattr(lower, _UNBLOCKED, unblocked)

    async def over(self) -> None:
        """Wait until there is no alarm. The caller limits the time."""
        await self._over.wait()

    def trouble(self) -> str:
        """Say what is wrong, and what ends it; empty without an alarm."""
        if not self.reason:
            return ""
        name = _NAMES.get(self.reason, "alarm")
        return (
            f"the broker at {self._where} is blocked: {name} ({self.reason}); it takes messages again when it has room:"
            " let its queues drain, or give it more memory or disk"
        )

    def blocked(self, kind: str) -> BrokerBlocked:
        """Return the error for whoever could not wait any longer."""
        return BrokerBlocked(f"publishing a {kind} message: {self.trouble()}")

    def _begin(self, reason: str) -> None:
        self.reason = reason or "no reason given"
        self._over.clear()
        log.warning("the broker is blocked", broker=self._where, why=self.reason)

    def _end(self) -> None:
        if self.reason:
            log.info("the broker takes messages again", broker=self._where)
        self.reason = ""
        self._over.set()
