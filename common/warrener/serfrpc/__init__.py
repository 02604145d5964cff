"""An asyncio client of Serf's RPC protocol, usable without the rest of Warrener.

    async with await SerfClient.connect("127.0.0.1", 7373, auth_key="…") as serf:
        print(await serf.members())
        async for event in await serf.stream("member-failed"):
            ...

The protocol: https://github.com/hashicorp/serf/blob/master/docs/agent/rpc.html.markdown
"""

from warrener.serfrpc.client import SerfClient
from warrener.serfrpc.errors import (
    CommandRejected,
    ConnectionLost,
    KeyRejected,
    MalformedAnswer,
    NoAnswer,
    SerfError,
    TooSlow,
)
from warrener.serfrpc.records import (
    Coordinate,
    Event,
    KeyReport,
    MemberEvent,
    OtherEvent,
    QueryAck,
    QueryAnswer,
    QueryEvent,
    QueryResponse,
    SerfMember,
    UserEvent,
)
from warrener.serfrpc.streams import EventStream, LogStream, QueryAnswers

__all__ = [
    "CommandRejected",
    "ConnectionLost",
    "Coordinate",
    "Event",
    "EventStream",
    "KeyRejected",
    "KeyReport",
    "LogStream",
    "MalformedAnswer",
    "MemberEvent",
    "NoAnswer",
    "OtherEvent",
    "QueryAck",
    "QueryAnswer",
    "QueryAnswers",
    "QueryEvent",
    "QueryResponse",
    "SerfClient",
    "SerfError",
    "SerfMember",
    "TooSlow",
    "UserEvent",
]
