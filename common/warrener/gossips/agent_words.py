"""What a Serf agent's log says, for people; pure. The lines are those of Serf 0.8 to 0.10."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Trouble(StrEnum):
    """What can be wrong with an agent."""

    KEY = "key"  # this host and a member have different gossip keys
    STRANGER = "stranger"  # somebody without this pool's key knocks
    SEED = "seed"  # a seed cannot be reached
    PORT = "port"  # the port is taken
    ADDRESS = "address"  # the address is none of this host
    NAME = "name"  # another member has this member's name
    SLOW = "slow"  # others thought this member dead
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Told:
    """One sentence about one trouble."""

    trouble: Trouble
    sentence: str


_SAME_KEY = "the file of WARRENER_GOSSIP_KEY (gossip.key) must have the same content on every host of the pool"

_READINGS: tuple[tuple[re.Pattern[str], Trouble, str], ...] = tuple(
    (re.compile(pattern), trouble, sentence)
    for pattern, trouble, sentence in (
        (
            r"Failed to join (\S+): (?:No installed keys could decrypt|Remote state is encrypted)",
            Trouble.KEY,
            f"the member at {{0}} gossips with another key than this host: {_SAME_KEY}",
        ),
        (
            r"Failed to join (\S+): .*dial tcp (\S+): (?:.*: )?(.+)",
            Trouble.SEED,
            "the seed {1} does not answer ({2}): is an agent up, its port open for TCP and UDP? It is tried again",
        ),
        (r"Failed to join (\S+): (.+)", Trouble.SEED, "the seed {0} cannot be joined ({1}); it is tried again"),
        (
            r"Failed to resolve (\S+?): (.+)",
            Trouble.SEED,
            "the seed {0} has no address ({1}): correct WARRENER_SEEDS or the name service; it is tried again",
        ),
        (
            r"No installed keys could decrypt the message from=(\S+?)(?::\d+)?$",
            Trouble.STRANGER,
            f"an agent at {{0}} gossips with another key than this host: {_SAME_KEY}",
        ),
        (
            r"remote state is not encrypted from=(\S+?)(?::\d+)?$",
            Trouble.STRANGER,
            f"an agent at {{0}} gossips without encryption, and is not let in: {_SAME_KEY}",
        ),
        (
            r"listen (?:tcp|udp) (\S+): bind: address already in use",
            Trouble.PORT,
            "another program listens on {0}, perhaps another Serf agent: end it, or give WARRENER_AGENT another port",
        ),
        (
            r"listen (?:tcp|udp) (\S+): bind: permission denied",
            Trouble.PORT,
            "this user may not listen on {0}: give WARRENER_AGENT a port above 1023",
        ),
        (
            r"listen (?:tcp|udp) (\S+): bind: cannot assign requested address",
            Trouble.ADDRESS,
            "{0} is no address of this host: correct WARRENER_AGENT",
        ),
        (
            r"Node name conflicts with another node at (\S+?)\. ",
            Trouble.NAME,
            "the member at {0} has this one's name, as after a copy of a disk; a new one is taken",
        ),
        (
            r"minority in name conflict resolution",
            Trouble.NAME,
            "another member has this member's name, and the pool keeps the other",
        ),
        (
            r"Refuting a (?:suspect|dead) message \(from: (\S+?)\)",
            Trouble.SLOW,
            "the member {0} did not hear this one in time: this host is overloaded, or packets get lost",
        ),
        (r"^==> (?:Failed to start the Serf agent|Error [^:]+): (.+)", Trouble.OTHER, "Serf says: {0}"),
        (r"^==> (Invalid .+|Failed .+)", Trouble.OTHER, "Serf says: {0}"),
    )
)


def told_by(line: str) -> Told | None:
    """Read one line; None if it tells of no trouble."""
    line = " ".join(line.split())
    if "error joining" in line or "Join failed" in line:  # the reason follows, in a line of its own
        return None
    for pattern, trouble, sentence in _READINGS:
        if (found := pattern.search(line)) is not None:
            return Told(trouble, sentence.format(*(group.strip() for group in found.groups())))
    return None


def joined_by(line: str) -> int | None:
    """Return how many members an agent has just joined; None if the line does not tell."""
    found = re.search(r"agent: joined: (\d+) nodes", line)
    return int(found.group(1)) if found else None
