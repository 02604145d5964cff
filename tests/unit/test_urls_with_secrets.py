"""A URL that is not understood may hold a password all the same: no sentence quotes it, and no cause is kept."""

from __future__ import annotations

from collections.abc import Callable
from traceback import format_exception

import pytest

from warrener.asking import address
from warrener.brokers import open_broker
from warrener.errors import Refused
from warrener.gossips import open_gossip
from warrener.stores.sql import PostgreSQL, open_store, read_url
from warrener_services.gossip.mailing import read_server
from warrener_services.gossip.routes import webhook


def broker(url: str) -> None:
    open_broker(url, name="test")


def gateway(url: str) -> None:
    address(url, "")


@pytest.mark.parametrize(
    ("read", "url"),
    [
        (open_store, "postgresql//hare:sesame@db/warrener"),
        (open_store, "postgresql://hare:x@db:sesame/warrener"),
        (open_store, "mysql://hare:sesame@db/warrener"),
        (open_store, "hare:sesame@db"),
        (broker, "hare:sesame@rabbit:5672"),
        (broker, "sesame@rabbit:5672"),
        (broker, "amqp://hare:sesame/x@rabbit/"),
        (broker, "amqp://hare:sesame@rabbit:99999/"),
        (open_gossip, "serf://sesame/x@127.0.0.1:7373"),
        (open_gossip, "sesame@127.0.0.1:7373"),
        (read_server, "smtp://hare:sesame/x@mail"),
        (read_server, "mail://hare:sesame@mail"),
        (gateway, "hare:sesame@gateway"),
        (webhook, "http://hare:sesame@hook/x"),
        (webhook, "https://hare:sesame\N{CARE OF}@hook/x"),
    ],
)
def test_what_is_no_url_is_refused_without_its_password(read: Callable[[str], object], url: str) -> None:
    with pytest.raises((Refused, ValueError)) as caught:
        read(url)
    kept = [part for part in format_exception(caught.value) if not part.startswith("  File")]  # those quote this file
    assert "sesame" not in "".join(kept)


async def test_what_is_shown_of_a_url_that_is_understood_has_no_password() -> None:
    database = PostgreSQL(read_url("postgresql://hare:sesame@db/warrener?password=sesame"))
    assert database.where == "the database postgresql://hare:***@db/warrener"
    await database.close()
    assert address("https://hare:sesame@gateway/", "").shown == "https://hare:***@gateway/"
