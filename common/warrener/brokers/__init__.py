"""The brokers: one module each, behind `warrener.broker`; `open_broker` chooses by URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from warrener.broker import Broker
from warrener.errors import InvalidSettings


def open_broker(url: str, *, name: str) -> Broker:
    """Return a connection to the broker of this URL, without waiting for it; a loop must be running.

    `name` is what the broker's administrators see: the program and its host. All `memory://` connections of a
    process share one broker. Raises InvalidSettings.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is checked when it is read
    except ValueError as error:
        raise InvalidSettings(
            f"WARRENER_BROKER is no URL: {error}; give amqp://user:password@host:port/vhost"
        ) from error
    if parts.scheme == "memory":
        from warrener.brokers.memory import MemoryBroker

        return MemoryBroker.connect(url)
    if parts.scheme in ("amqp", "amqps") and parts.hostname:
        from warrener.brokers.rabbitmq import RabbitMQ

        return RabbitMQ.connect(url, name=name)
    raise InvalidSettings(
        f"WARRENER_BROKER: a URL with scheme {parts.scheme!r} and host {parts.hostname or ''!r} is no broker's; "
        "give amqp://user:password@host:port/vhost, amqps://… or memory://"
    )
