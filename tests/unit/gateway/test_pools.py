"""What elastic programs say of their pools."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from warrener.messages import Elastic
from warrener_services.gateway.pools import FORGOTTEN_AFTER, SILENT_AFTER, Pools

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def word(**fields: Any) -> Elastic:
    whole = {"who": "a", "host": "h", "pool": "jobs", "turn": "jobs.h", "acting": True, "minimum": 0, "maximum": 4,
             "wanted": 2, "running": 1}  # fmt: skip
    return Elastic(**(whole | fields))


def test_who_does_not_act_is_not_shown() -> None:
    pools = Pools()
    pools.hear(word(), NOW)
    pools.hear(word(who="b", acting=False, wanted=4), NOW)
    assert [pool.wanted for pool in pools.list(NOW)] == [2]


def test_one_pool_on_two_hosts_is_two() -> None:
    pools = Pools()
    pools.hear(word(), NOW)
    pools.hear(word(host="i", turn="jobs.i"), NOW)
    assert [(pool.name, pool.host) for pool in pools.list(NOW)] == [("jobs", "h"), ("jobs", "i")]


def test_silence_is_told_and_then_forgotten() -> None:
    pools = Pools()
    pools.hear(word(), NOW)
    assert [pool.silent for pool in pools.list(NOW + SILENT_AFTER + timedelta(seconds=1))] == [True]
    assert not pools.list(NOW + FORGOTTEN_AFTER)
