"""Who should take which shard: rendezvous order, in which everybody has the same share.

For each shard every scheduler has a weight, a hash of both names (highest random weight: Thaler and Ravishankar,
"Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998). The heaviest should
take the shard. As pure chance spreads 64 shards over 4 schedulers 12 to 20 each, whoever has its share already is
passed over, heaviest pairs first, so that shares differ by one at most. The answer depends on the names alone, so
schedulers that see the same members agree without a word; who comes or goes moves little more than its own share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from functools import lru_cache


def shards_of(member: str, members: Collection[str], shards: int) -> frozenset[int]:
    """Return the shards that one of the members should take; `members` includes it."""
    return frozenset(shard for shard, owner in enumerate(_spread(tuple(sorted(members)), shards)) if owner == member)


@lru_cache(maxsize=8)
def _spread(members: tuple[str, ...], shards: int) -> tuple[str, ...]:
    """Return the member of each shard."""
    share, one_more = divmod(shards, len(members))
    count = dict.fromkeys(members, 0)
    owners: dict[int, str] = {}
    for _, member, shard in _pairs(members, shards):
        if shard in owners or count[member] > share or (count[member] == share and not one_more):
            continue
        one_more -= count[member] == share
        count[member] += 1
        owners[shard] = member
    return tuple(owners[shard] for shard in range(shards))


def _pairs(members: Iterable[str], shards: int) -> list[tuple[int, str, int]]:
    return sorted(
        ((_weight(member, shard), member, shard) for member in members for shard in range(shards)), reverse=True
    )


def _weight(member: str, shard: int) -> int:
    digest = hashlib.blake2b(f"{member}\0{shard}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
