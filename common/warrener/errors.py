"""Every deliberate error of Warrener, sorted by what the caller may do about it.

    WarrenerError
    ├── Refused                  the input is wrong: change it, repeating is useless
    │   ├── InvalidWorkflow      a definition or its parameters; carries every problem found, not the first
    │   ├── InvalidMessage       a message that cannot be read; it is parked
    │   ├── Forged               a message whose signature or token does not hold; it is parked
    │   ├── InvalidSettings      a setting; names the variable
    │   ├── StoreRefused         the database does not take this value or this duplicate
    │   ├── NotFound             a run, task, worker or parked message that does not exist
    │   └── Conflict             the state of the thing does not allow what was asked
    ├── Unavailable              something is away: repeat later, nothing accepted is lost
    │   ├── Overloaded           more is asked for than can be taken now: nothing was done, repeat more slowly
    │   ├── BrokerUnavailable
    │   │   ├── Unroutable       no queue takes the message: declare one, then repeat
    │   │   ├── QueueFull        the queue holds as much as it may: nothing was kept, repeat more slowly
    │   │   └── BrokerBlocked    the broker is out of memory or disk: it takes messages again when it has room
    │   ├── StoreUnavailable
    │   ├── GossipUnavailable
    │   └── GatewayUnavailable
    ├── Fenced                   somebody else owns the shard by now: stop at once, write nothing
    ├── IllegalMove              a move that the table of states does not have; nothing was changed
    └── TaskFailed               the work itself failed; carries the cause that retry rules look at

A message says what is wrong, where, and what to do next. Foreign exceptions are translated where they enter and
kept as the cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class WarrenerError(Exception):
    """The root: whatever Warrener raises on purpose."""


class Refused(WarrenerError):
    """The input is wrong; repeating it unchanged is useless."""


class InvalidWorkflow(Refused):
    """A workflow definition, or the parameters of a run, cannot be accepted.

    `problems` holds one sentence for each fault, each with its place (file:line where known).
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class InvalidMessage(Refused):
    """A message cannot be read: malformed, of an unknown kind, or of a newer version."""


class Forged(Refused):
    """A message does not carry the proof it needs; whoever sent it may not do that."""


class InvalidSettings(Refused):
    """A setting is missing or wrong; the message names its variable."""


class StoreRefused(Refused):
    """The database does not take a value (a duplicate key, a number out of range); the transaction was undone."""


class NotFound(Refused):
    """What was asked for does not exist."""


class Conflict(Refused):
    """What was asked for exists, but its state does not allow this."""


class Unavailable(WarrenerError):
    """A part of the system is away; repeat later."""


class Overloaded(Unavailable):
    """More is asked for than can be taken now. Nothing was done; repeat after `retry_after_s`, and more slowly."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class BrokerUnavailable(Unavailable):
    """The broker cannot be reached, or did not confirm in time (the message may still have arrived)."""


class Unroutable(BrokerUnavailable):
    """The broker has no queue for this routing key; it did not keep the message."""


class QueueFull(BrokerUnavailable):
    """A queue that must not grow holds as much as it may; the broker did not keep the message."""


class BrokerBlocked(BrokerUnavailable):
    """The broker takes no messages because it is short of memory or disk; consuming goes on meanwhile.

    A message that was on its way when this began may arrive when it is over.
    """


class StoreUnavailable(Unavailable):
    """The database cannot be reached; the transaction did not commit, as far as can be known."""


class GossipUnavailable(Unavailable):
    """The Serf agent cannot be reached, or refused the key."""


class GatewayUnavailable(Unavailable):
    """The gateway cannot be reached."""


class Fenced(WarrenerError):
    """A write carried an epoch that is no longer the shard's; nothing was written."""


class Undone(WarrenerError):
    """What a change was built on could not be written; nothing of it was written either."""


class IllegalMove(WarrenerError):
    """The table of states has no such move."""


class Cause(StrEnum):
    """Why an attempt failed; retry rules choose by it."""

    EXIT = "exit"  # the command ended with another code than 0, or by a signal
    ERROR = "error"  # the function raised, or the command could not be started
    TIMEOUT = "timeout"  # it ran longer than its timeout
    STAGE = "stage"  # a source is missing or corrupt, a checksum differs, a disk is full
    ENV = "env"  # the environment cannot be built
    TEMPLATE = "template"  # a template met outputs it cannot use
    LOST = "lost"  # its worker died or stopped answering
    POISON = "poison"  # workers died of it, three times: it is not tried again by itself
    REFUSED = "refused"  # the worker may not or cannot do this (unknown function, path outside its roots)
    CANCELLED = "cancelled"  # stopped on request


class TaskFailed(WarrenerError):
    """The work failed. `cause` is what retry rules look at, the message is what people read.

    `blames_host`: it is the host's fault, and could go well on another one.
    """

    def __init__(self, cause: Cause, message: str, *, exit_code: int | None = None, blames_host: bool = False) -> None:
        self.cause = cause
        self.exit_code = exit_code
        self.blames_host = blames_host
        super().__init__(message)


def plain_words(text: str) -> str:
    """Return what the operating system's words for a connection that failed mean; other text stays as it is."""
    for theirs, ours in _PLAIN:
        if theirs in text:
            return ours
    return text


_PLAIN = (
    ("Connect call failed", "connection refused: nothing listens there"),
    ("Connection refused", "connection refused: nothing listens there"),
    ("Name or service not known", "there is no host of this name"),
    ("Temporary failure in name resolution", "this host's name service does not answer"),
    ("No route to host", "no route to that host: is it up, and on this network?"),
)
