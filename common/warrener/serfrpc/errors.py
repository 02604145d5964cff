"""What can go wrong with a Serf agent, sorted by what the caller may do about it.

SerfError
├── ConnectionLost       the agent cannot be reached, or went away: connect anew
├── NoAnswer             no answer in time; the command may have been carried out
├── MalformedAnswer      this is not a Serf agent's protocol; the connection was closed
├── TooSlow              events were not taken fast enough; the stream ended: take a full picture, start anew
└── CommandRejected      the agent said no, in its own words: repeating is useless
    └── KeyRejected      it wants another RPC key, or one at all
"""

from __future__ import annotations


class SerfError(Exception):
    """The root of this package's errors; none of them ever carries the RPC key."""


class ConnectionLost(SerfError):
    """There is no connection to the agent (any more)."""


class NoAnswer(SerfError):
    """The agent did not answer in time."""


class MalformedAnswer(SerfError):
    """What came cannot be read as Serf's RPC protocol."""


class TooSlow(SerfError):
    """More events came than may wait in a stream."""


class CommandRejected(SerfError):
    """The agent refused a command; `reason` is its own sentence."""

    def __init__(self, command: str, reason: str) -> None:
        self.command = command
        self.reason = reason
        super().__init__(f"the Serf agent refused {command}: {reason}")


class KeyRejected(CommandRejected):
    """The agent refused the RPC key, or the lack of one."""


_KEY_REASONS = frozenset({"Invalid authentication token", "Authentication required"})


def rejection(command: str, reason: str) -> CommandRejected:
    """Make the error for an agent's refusal, in one line."""
    reason = " ".join(reason.split())
    return (KeyRejected if reason in _KEY_REASONS else CommandRejected)(command, reason)
