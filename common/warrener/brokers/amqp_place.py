"""Where RabbitMQ is: a URL with one address or several, and the kind of its queues.

amqp://user:password@one:5672,two:5672,three:5672/vhost?queues=quorum
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yarl import URL

from warrener.errors import InvalidSettings

_FORM = (
    "give amqp://user:password@host:port/vhost, for a cluster amqp://user:password@one,two,three/vhost?queues=quorum"
)


@dataclass(frozen=True, slots=True)
class Place:
    """The nodes of a broker, tried in turn, and whether its durable queues are quorum queues."""

    urls: Sequence[URL]
    quorum: bool = False

    @property
    def shown(self) -> str:
        """All addresses, for people: without user and password."""
        return ", ".join(f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}" for url in self.urls)


def read_place(text: str) -> Place:
    """Read WARRENER_BROKER; raises InvalidSettings, which shows no password."""
    scheme, _, rest = text.partition("://")
    rest, mark, query = rest.partition("?")  # first: without a path, it would stay with the last address alone
    authority, slash, path = rest.partition("/")
    who, at, hosts = authority.rpartition("@")
    try:
        urls = [URL(f"{scheme}://{who}{at}{host.strip()}{slash}{path}{mark}{query}") for host in hosts.split(",")]
    except ValueError:
        urls = []  # its text may quote the password: the cause is not kept
    if scheme not in ("amqp", "amqps") or not urls or not all(url.host for url in urls):
        raise InvalidSettings(f"WARRENER_BROKER is no URL of RabbitMQ; {_FORM}")
    queues = urls[0].query.get("queues", "classic")
    if queues not in ("classic", "quorum"):
        raise InvalidSettings(f"WARRENER_BROKER: queues={queues} is neither classic nor quorum; {_FORM}")
    return Place([url.without_query_params("queues") for url in urls], quorum=queues == "quorum")
