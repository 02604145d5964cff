"""Publishing over one channel with confirms: what is published in one turn of the loop leaves in one write.

The library's own publish sends every message by itself, behind a lock, with a task and some callbacks each; the sends
alone cost more than everything else here. So the frames of one turn are collected and handed to the library's writer as
one piece. Their marshalling, the confirms and the returns stay the library's: it finds whoever waits where its own
publish would have put them (`confirmations`, `message_id_delivery_tag`).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from typing import cast

from aiormq import spec
from aiormq.abc import ChannelFrame, ConfirmationFrameType
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from warrener.broker import Message
from warrener.brokers.amqp_errors import explain


class Publisher:
    """Publishes on a channel that was opened with confirms, and on which nobody else publishes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._parcel: _Parcel | None = None
        channel.closing.add_done_callback(self._fail)

    def publish(self, message: Message) -> asyncio.Future[ConfirmationFrameType]:
        """Send with the others of this turn; the future ends with the confirm.

        It ends with DeliveryError when the broker refuses the message, with PublishError when it was mandatory and came
        back, and with ConnectionResetError when the channel is closed first.
        """
        channel = self._channel
        if channel.is_closed:
            raise ChannelInvalidStateError("the channel for publishing is closed")
        self._open_parcel().frames += self._frames(message)
        confirmation: asyncio.Future[ConfirmationFrameType] = asyncio.get_running_loop().create_future()
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = confirmation
        if message.mandatory:  # only such a one comes back
            channel.message_id_delivery_tag[message.message_id] = channel.delivery_tag
            confirmation.add_done_callback(partial(self._forget, message.message_id))
        return confirmation

    def _open_parcel(self) -> _Parcel:
        """Return the parcel that the writer has not taken yet; there is one at most, so the queue keeps room."""
        if self._parcel is None or self._parcel.taken:
            self._parcel = _Parcel()
            self._channel.write_queue.put_nowait(cast("ChannelFrame", self._parcel))
        return self._parcel

    def _frames(self, message: Message) -> list[bytes]:
        number = self._channel.number
        header = ContentHeader(properties=_properties(message), body_size=len(message.body))
        frames = [_method(message.exchange, message.routing_key, message.mandatory, number), marshal(header, number)]
        size = self._channel.max_content_size
        parts = (message.body[start : start + size] for start in range(0, len(message.body), size))
        return frames + [marshal(ContentBody(part), number) for part in parts]

    def _forget(self, message_id: str, _: object) -> None:
        self._channel.message_id_delivery_tag.pop(message_id, None)

    def _fail(self, closing: asyncio.Future[None]) -> None:
        error = None if closing.cancelled() else closing.exception()
        why = explain(error) if error else "the channel for publishing was closed"
        for confirmation in self._channel.confirmations.values():
            if not confirmation.done():
                confirmation.set_exception(ConnectionResetError(why))


class _Parcel:
    """A `ChannelFrame` that grows until the library's writer takes it."""

    should_close = False
    should_drain = False

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.taken = False

    @property
    def payload(self) -> bytes:
        self.taken = True
        return b"".join(self.frames)


@lru_cache(maxsize=1000)
def _method(exchange: str, routing_key: str, mandatory: bool, channel: int) -> bytes:  # noqa: FBT001 - the cache's key
    return marshal(spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory), channel)


def _properties(message: Message) -> spec.Basic.Properties:
    expires = message.expires
    return spec.Basic.Properties(
        message_type=message.kind,
        content_type="application/json",
        message_id=message.message_id,
        priority=message.priority,
        delivery_mode=2 if message.durable else 1,
        expiration=None if expires is None else str(max(0, int(expires.total_seconds() * 1000))),
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
        headers=dict(message.headers) or None,
    )
