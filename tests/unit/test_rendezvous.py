"""Who should take which shard."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from warrener.rendezvous import shards_of

NAMES = st.sets(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), min_size=1, max_size=12)
SHARDS = st.sampled_from([1, 2, 7, 64, 100])


def spread(members: set[str], shards: int) -> dict[int, str]:
    return {shard: member for member in members for shard in shards_of(member, members, shards)}


@given(members=NAMES, shards=SHARDS)
def test_every_shard_has_one_member_and_shares_differ_by_one_at_most(members: set[str], shards: int) -> None:
    shares = [shards_of(member, members, shards) for member in members]
    assert sorted(shard for share in shares for shard in share) == list(range(shards))
    assert {len(share) for share in shares} <= {shards // len(members), math.ceil(shards / len(members))}


@given(members=NAMES, newcomer=st.from_regex(r"[A-Z]{1,8}", fullmatch=True), shards=SHARDS)
def test_who_comes_or_goes_moves_little_more_than_its_own_share(members: set[str], newcomer: str, shards: int) -> None:
    without, with_it = spread(members, shards), spread(members | {newcomer}, shards)
    moved = sum(without[shard] != with_it[shard] for shard in range(shards))
    own = Counter(with_it.values())[newcomer]
    assert own <= moved <= 2 * own + len(members) + 1


def test_a_fourth_scheduler_moves_a_quarter() -> None:
    moved = []
    for n in range(50):
        three = {f"s{n}-a", f"s{n}-b", f"s{n}-c"}
        before, after = spread(three, 64), spread({*three, f"s{n}-d"}, 64)
        moved.append(sum(before[shard] != after[shard] for shard in before))
    assert sum(moved) / len(moved) < 20  # 16 are its own


def test_the_spread_is_the_same_on_every_host_and_in_every_version() -> None:
    assert [sorted(shards_of(name, ["c", "a", "b"], 8)) for name in "abc"] == [[0, 4, 7], [3, 6], [1, 2, 5]]


@given(members=NAMES)
def test_who_is_no_member_has_nothing(members: set[str]) -> None:
    assert shards_of("nobody-at-all", members, 64) == frozenset()
