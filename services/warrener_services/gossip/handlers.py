"""From members to messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from warrener.broker import MAX_BODY_BYTES, Message
from warrener.gossip import Member
from warrener.messages import Members, MemberSeen, encode
from warrener.topology import CONTROL

from .bulletin import Edition

MEMBER = "member"
_FRESH = timedelta(seconds=30)
"""Hints that a slow reader has not taken by then are dropped by the broker; the next full picture is newer."""


def bodies_of(edition: Edition) -> Iterator[bytes]:
    """Write an edition; one that is too large for a message in several, none of which then claims to be full."""
    seen = [_seen(member) for member in edition.members]
    body = encode(Members(members=seen, full=edition.full))
    if len(body) <= MAX_BODY_BYTES:
        yield body
    else:
        yield from _parts_of(seen)


def message_of(body: bytes, *, message_id: str) -> Message:
    """Return the message for a body: a hint, which nobody has to hear and no disk has to keep."""
    return Message(
        exchange=CONTROL,
        routing_key=MEMBER,
        kind=Members.KIND,
        body=body,
        message_id=message_id,
        durable=False,
        mandatory=False,
        expires=_FRESH,
    )


def _parts_of(seen: Sequence[MemberSeen]) -> Iterator[bytes]:
    body = encode(Members(members=list(seen)))
    if len(body) <= MAX_BODY_BYTES or len(seen) == 1:
        yield body
        return
    middle = len(seen) // 2
    yield from _parts_of(seen[:middle])
    yield from _parts_of(seen[middle:])


def _seen(member: Member) -> MemberSeen:
    return MemberSeen(name=member.name, status=member.status.value, address=member.address, tags=dict(member.tags))
