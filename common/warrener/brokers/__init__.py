"""The brokers: one module each, behind `warrener.broker`; `open_broker` chooses by URL."""

from __future__ import annotations

from warrener.broker import Broker
from warrener.errors import InvalidSettings


def open_broker(url: str, *, name: str) -> Broker:
    """Return a connection to the broker of this URL, without waiting for it; a loop must be running.

    `name` is what the broker's administrators see: the program and its host. All `memory://` connections of a
    process share one broker. Raises InvalidSettings.
    """
    scheme = url.partition(":")[0]
    if scheme == "memory":
        from warrener.brokers.memory import MemoryBroker

        return MemoryBroker.connect(url)
    if scheme in ("amqp", "amqps"):
        from warrener.brokers.rabbitmq import RabbitMQ

        return RabbitMQ.connect(url, name=name)
    raise InvalidSettings(
        "WARRENER_BROKER: no broker has a URL like this; give amqp://user:password@host:port/vhost, amqps://… or"
        " memory://"
    )
