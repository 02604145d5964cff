"""What the bodies of answers and stream records say: members and events."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from warrener.serfrpc.errors import MalformedAnswer
from warrener.serfrpc.protocol import Body, text


@dataclass(frozen=True, slots=True)
class SerfMember:
    """One member; `status` is one of none, alive, leaving, left, failed. `host` is an IP address as text."""

    name: str
    host: str
    port: int
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MemberEvent:
    """`event` is member-join, member-leave, member-failed, member-update or member-reap."""

    event: str
    members: tuple[SerfMember, ...]


@dataclass(frozen=True, slots=True)
class UserEvent:
    """A user event; `ltime` is its Lamport time."""

    name: str
    payload: bytes
    ltime: int
    coalesce: bool


@dataclass(frozen=True, slots=True)
class QueryEvent:
    """A query that was asked; `id` is this agent's, for the answer."""

    id: int
    name: str
    payload: bytes
    ltime: int


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """A record of a type that this package does not read."""

    event: str


Event: TypeAlias = MemberEvent | UserEvent | QueryEvent | OtherEvent


@dataclass(frozen=True, slots=True)
class QueryAck:
    """A member has heard the query."""

    member: str


@dataclass(frozen=True, slots=True)
class QueryResponse:
    """A member's answer."""

    member: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class QueryDone:
    """The query's time is over."""


QueryAnswer: TypeAlias = QueryAck | QueryResponse


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A place in the space of round-trip times (https://www.serf.io/docs/internals/coordinates.html); in seconds."""

    vector: tuple[float, ...]
    height: float
    adjustment: float
    error: float


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What members said to a command about keys. `keys`: how many members have each; `messages`: who complained."""

    members: int
    responses: int
    errors: int
    keys: Mapping[str, int] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)


def read_members(body: Body) -> tuple[SerfMember, ...]:
    """Read the members of an answer or record; raises MalformedAnswer."""
    listed = body.fields.get(b"Members") or []  # an agent writes an empty list as nil
    if not isinstance(listed, list):
        raise MalformedAnswer("the Serf agent sent Members that are no list")
    return tuple(_member(fields) for fields in listed)


def read_event(body: Body) -> Event:
    """Read a record of a stream; raises MalformedAnswer."""
    event = text(body.fields.get(b"Event"))
    if event.startswith("member-"):
        return MemberEvent(event, read_members(body))
    if event == "query":
        return QueryEvent(
            id=_number(body.fields.get(b"ID")),
            name=text(body.fields.get(b"Name")),
            payload=_payload(body),
            ltime=_number(body.fields.get(b"LTime")),
        )
    if event == "user":
        return UserEvent(
            name=text(body.fields.get(b"Name")),
            payload=_payload(body),
            ltime=_number(body.fields.get(b"LTime")),
            coalesce=bool(body.fields.get(b"Coalesce")),
        )
    return OtherEvent(event)


def read_line(body: Body) -> str:
    """Read a line of the agent's log; raises MalformedAnswer."""
    return text(body.fields.get(b"Log"))


def read_query_record(body: Body) -> QueryAnswer | QueryDone:
    """Read a record of a query; raises MalformedAnswer."""
    match text(body.fields.get(b"Type")):
        case "ack":
            return QueryAck(text(body.fields.get(b"From")))
        case "response":
            return QueryResponse(text(body.fields.get(b"From")), _payload(body))
        case "done":
            return QueryDone()
        case other:
            raise MalformedAnswer(f"the Serf agent sent a record {other!r} to a query")


def read_coordinate(body: Body) -> Coordinate | None:
    """Read the answer of `get-coordinate`; raises MalformedAnswer."""
    if not body.fields.get(b"Ok"):
        return None
    fields = body.fields.get(b"Coord")
    if not isinstance(fields, dict) or not isinstance(fields.get(b"Vec"), list):
        raise MalformedAnswer("the Serf agent sent a coordinate that is none")
    return Coordinate(
        vector=tuple(_float(value) for value in fields[b"Vec"]),
        height=_float(fields.get(b"Height")),
        adjustment=_float(fields.get(b"Adjustment")),
        error=_float(fields.get(b"Error")),
    )


def read_key_report(body: Body) -> KeyReport:
    """Read the answer to a command about keys; raises MalformedAnswer."""
    keys = body.fields.get(b"Keys") or {}
    if not isinstance(keys, dict):
        raise MalformedAnswer("the Serf agent sent Keys that are no map")
    return KeyReport(
        members=_number(body.fields.get(b"NumNodes")),
        responses=_number(body.fields.get(b"NumResp")),
        errors=_number(body.fields.get(b"NumErr")),
        keys={text(key): _number(count) for key, count in keys.items()},
        messages=_texts(body.fields.get(b"Messages")),
    )


def read_stats(body: Body) -> dict[str, dict[str, str]]:
    """Read the sections of `stats`; raises MalformedAnswer."""
    return {text(name): _texts(section) for name, section in body.fields.items()}


def _member(fields: object) -> SerfMember:
    if not isinstance(fields, dict):
        raise MalformedAnswer("the Serf agent sent a member that is no map")
    return SerfMember(
        name=text(fields.get(b"Name")),
        host=_ip(fields.get(b"Addr")),
        port=_number(fields.get(b"Port")),
        status=text(fields.get(b"Status")),
        tags=_texts(fields.get(b"Tags")),
    )


def _ip(raw: Any) -> str:
    if not isinstance(raw, bytes) or len(raw) not in (4, 16):
        return ""
    address = ipaddress.ip_address(raw)
    # Go writes an IPv4 address in 4 or in 16 bytes, as it happens to have it.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _texts(raw: object) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise MalformedAnswer(f"the Serf agent sent {type(raw).__name__} where a map of texts belongs")
    return {text(name): text(value) for name, value in raw.items()}


def _payload(body: Body) -> bytes:
    payload = body.fields.get(b"Payload") or b""
    return payload if isinstance(payload, bytes) else b""


def _float(raw: object) -> float:
    if not isinstance(raw, int | float):
        raise MalformedAnswer(f"the Serf agent sent {type(raw).__name__} where a number belongs")
    return float(raw)


def _number(raw: object) -> int:
    if not isinstance(raw, int):
        raise MalformedAnswer(f"the Serf agent sent {type(raw).__name__} where a number belongs")
    return raw
