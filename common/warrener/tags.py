"""What the tags of workers and agents say to whoever looks at the pool; pure.

A member has one tag for each worker beside it, `w:<name>`, and all its tags together have 512 bytes. So a tag is short:

    ju local 0kf3q0v9n2x5t8ab 3/4 0.5 8f3ak2q1

kind and state (a letter each), site, boot, free slots of all, load per core, digest of the attributes. What had to be
left out for want of room is `-`. An agent of Warrener's own has one more, its site. Hints, all of it: whoever is in the
pool can write anything there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from warrener.messages import Kind

PREFIX = "w:"
SITE = "site"
"""An agent's own tag: the site of its host, also when no worker is there."""
ASKS = "asks"
"""The tag of an agent that lives only to ask the pool something (`warrener find`), and is no host of it."""
UNKNOWN = "-"
_STATES = {"u": "up", "d": "draining", "l": "leaving"}
_KINDS = {"e": Kind.ENV, "s": Kind.STAGE, "j": Kind.JOB, "c": Kind.CALL}
_LETTERS = {name: letter for letter, name in (*_STATES.items(), *_KINDS.items())}
_FIELDS = 6


@dataclass(frozen=True, slots=True)
class WorkerTag:
    """One worker, as its tag has it; `site`, `load` and `digest` may be unknown."""

    kind: Kind
    state: str
    boot: str
    free: int
    slots: int
    site: str | None = None
    load: float | None = None
    digest: str | None = None


def key_of(worker: str) -> str:
    """Return the name of a worker's tag."""
    return f"{PREFIX}{worker}"


def write(tag: WorkerTag, *, short: bool = False) -> str:
    """Write a tag; a short one leaves out what others can do without."""
    first = _LETTERS[tag.kind] + _LETTERS[tag.state]
    told = f"{first} {{}} {tag.boot} {tag.free}/{tag.slots} {{}} {{}}"
    if short:
        return told.format(UNKNOWN, UNKNOWN, UNKNOWN)
    load = UNKNOWN if tag.load is None else f"{tag.load:.1f}"
    return told.format(tag.site or UNKNOWN, load, tag.digest or UNKNOWN)


def site_of(told: Mapping[str, str]) -> str:
    """Return the site that a member's tags tell, its own or that of a worker beside it; nothing if none does."""
    workers = (read(text) for name, text in sorted(told.items()) if name.startswith(PREFIX))
    return told.get(SITE) or next((tag.site for tag in workers if tag is not None and tag.site), "")


def read(text: str) -> WorkerTag | None:
    """Read a tag; None if it is none of ours."""
    parts = text.split(" ")
    if len(parts) != _FIELDS or len(parts[0]) != 2:  # noqa: PLR2004 - kind and state
        return None
    first, site, boot, slots, load, digest = parts
    kind, state = _KINDS.get(first[0]), _STATES.get(first[1])
    free, _, count = slots.partition("/")
    if kind is None or state is None or not free.isdecimal() or not count.isdecimal():
        return None
    try:
        told_load = None if load == UNKNOWN else float(load)
    except ValueError:
        return None
    if told_load is not None and not isfinite(told_load):
        return None
    return WorkerTag(
        kind, state, boot, int(free), int(count),
        site=None if site == UNKNOWN else site, load=told_load, digest=None if digest == UNKNOWN else digest,
    )  # fmt: skip
