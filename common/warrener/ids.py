"""Identities: short, sortable by time, and with the shard inside.

A run's id is 80 bits in 16 characters of Crockford's base 32 (https://www.crockford.com/base32.html), lower case:
42 bits of milliseconds since 1970, 10 bits of shard, 28 bits of chance. A task is a run and a number within it; an
attempt is a task and a number from 1.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from random import Random
from typing import NamedTuple, NewType

RunId = NewType("RunId", str)
WorkerName = NewType("WorkerName", str)
"""A worker's name, unique in the deployment: `[a-z0-9-]{1,64}`."""
BootId = NewType("BootId", str)
"""One life of a worker process; a later one of the same worker sorts behind it."""

MAX_SHARDS = 1024
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_CHANCE_BITS = 28
_BOOT_CHANCE_BITS = 38
_SHARD_BITS = 10
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


class TaskRef(NamedTuple):
    """A task: its run, and its number within the run (from 0, in the order of the definition)."""

    run: RunId
    n: int

    def __str__(self) -> str:
        return f"{self.run}/{self.n}"


class AttemptRef(NamedTuple):
    """One try of a task."""

    run: RunId
    n: int
    attempt: int

    @property
    def task(self) -> TaskRef:
        return TaskRef(self.run, self.n)

    def __str__(self) -> str:
        return f"{self.run}/{self.n}/{self.attempt}"


def new_run_id(now: datetime, shard: int, rng: Random) -> RunId:
    """Make an id for a run of this shard."""
    milliseconds = int(now.timestamp() * 1000)
    number = (milliseconds << _SHARD_BITS | shard) << _CHANCE_BITS | rng.getrandbits(_CHANCE_BITS)
    return RunId(_letters(number))


def new_boot_id(now: datetime, rng: Random) -> BootId:
    """Make an id for a worker's new life: 42 bits of milliseconds since 1970, 38 bits of chance."""
    number = int(now.timestamp() * 1000) << _BOOT_CHANCE_BITS | rng.getrandbits(_BOOT_CHANCE_BITS)
    return BootId(_letters(number))


def shard_of(run: str) -> int:
    """Return the shard that a run's id carries."""
    # The shard's 10 bits lie above 28 bits of chance: within the characters 9 to 7 counted from the right.
    high = _VALUES[run[-8]] << 10 | _VALUES[run[-7]] << 5 | _VALUES[run[-6]]
    return high >> 3 & MAX_SHARDS - 1


def shard_for(owner: str, key: str, shards: int) -> int:
    """Choose the shard of a new run: the same owner and idempotency key always give the same one."""
    digest = hashlib.blake2b(f"{owner}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % shards


def new_token(rng: Random) -> str:
    """Make a random name of 80 bits: message ids, boot ids, idempotency keys."""
    return _letters(rng.getrandbits(80))


def _letters(number: int) -> str:
    """Write 80 bits in 16 characters."""
    return "".join([_ALPHABET[number >> place & 31] for place in range(75, -1, -5)])


def is_name(text: str) -> bool:
    """Tell whether a text may name a worker, a site or an app: it travels in routing keys and file names."""
    return _NAME.fullmatch(text) is not None
