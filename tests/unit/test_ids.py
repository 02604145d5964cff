"""Ids carry their shard, sort by time, and are safe to put anywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.ids import (
    MAX_SHARDS,
    AttemptRef,
    RunId,
    TaskRef,
    is_name,
    new_run_id,
    new_token,
    shard_for,
    shard_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("moment", [datetime(1971, 1, 1, tzinfo=UTC), NOW, datetime(2100, 1, 1, tzinfo=UTC)])
def test_a_run_id_gives_its_shard_back(moment: datetime) -> None:
    rng = Random(1)
    for shard in range(MAX_SHARDS):
        run = new_run_id(moment, shard, rng)
        assert len(run) == 16
        assert shard_of(run) == shard


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.integers(1, 10**9), st.randoms())  # noqa: DTZ001 - made aware below
def test_run_ids_sort_by_time(moment: datetime, later_ms: int, rng: Random) -> None:
    moment = moment.replace(tzinfo=UTC)
    first = new_run_id(moment, rng.randrange(MAX_SHARDS), rng)
    second = new_run_id(moment + timedelta(milliseconds=later_ms), rng.randrange(MAX_SHARDS), rng)
    assert first < second


def test_ids_of_one_millisecond_differ() -> None:
    rng = Random(2)
    assert len({new_run_id(NOW, 5, rng) for _ in range(1_000)}) == 1_000
    assert len({new_token(rng) for _ in range(1_000)}) == 1_000


@given(st.text(max_size=50), st.text(max_size=50), st.integers(1, MAX_SHARDS))
def test_the_same_owner_and_key_have_the_same_shard(owner: str, key: str, shards: int) -> None:
    shard = shard_for(owner, key, shards)
    assert 0 <= shard < shards
    assert shard == shard_for(owner, key, shards)


def test_keys_spread_over_all_shards() -> None:
    assert {shard_for("me", str(number), 64) for number in range(2_000)} == set(range(64))


@pytest.mark.parametrize("text", ["a", "0", "node-1", "a" * 64, "a-b-c"])
def test_a_name_may_have(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 65, "a b", "a\n", "ä", "../x"])
def test_a_name_may_not_be(text: str) -> None:
    assert not is_name(text)


def test_references_are_read_by_people() -> None:
    attempt = AttemptRef(RunId("0" * 16), 3, 2)
    assert attempt.task == TaskRef(RunId("0" * 16), 3)
    assert str(attempt) == f"{attempt.task}/2" == "0000000000000000/3/2"
