"""An asyncio client of Serf's RPC protocol, usable without the rest of Warrener.

    async with await SerfClient.connect("127.0.0.1", 7373, auth_key="…") as serf:
        print(await serf.members())
        async for event in await serf.stream("member-failed"):
            ...

The protocol: https://github.com/hashicorp/serf/blob/master/docs/agent/rpc.html.markdown
"""

from warrener.serfrpc.client import EventStream, SerfClient
from warrener.serfrpc.errors import (
    CommandRejected,
    ConnectionLost,
    KeyRejected,
    MalformedAnswer,
    NoAnswer,
    SerfError,
    TooSlow,
)
from warrener.serfrpc.records import Event, MemberEvent, OtherEvent, SerfMember, UserEvent

__all__ = [
    "CommandRejected",
    "ConnectionLost",
    "Event",
    "EventStream",
    "KeyRejected",
    "MalformedAnswer",
    "MemberEvent",
    "NoAnswer",
    "OtherEvent",
    "SerfClient",
    "SerfError",
    "SerfMember",
    "TooSlow",
    "UserEvent",
]
