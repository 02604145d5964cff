"""Serf's RPC protocol as bytes: whatever comes, however it is cut, is read or refused, and nothing hangs."""

from __future__ import annotations

import itertools
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warrener.serfrpc import (
    Coordinate,
    KeyReport,
    MalformedAnswer,
    MemberEvent,
    OtherEvent,
    QueryAck,
    QueryEvent,
    QueryResponse,
    UserEvent,
)
from warrener.serfrpc.protocol import Body, Decoder, Header, Part, encode, text
from warrener.serfrpc.records import (
    QueryDone,
    read_coordinate,
    read_event,
    read_key_report,
    read_members,
    read_query_record,
    read_stats,
)

RAW = {
    "Addr": bytes([10, 0, 0, 7]),
    "Port": 7946,
    "Name": b"host-a",
    "Status": b"alive",
    "Tags": {b"role": b"job"},
}


def pack(*items: object) -> bytes:
    return b"".join(msgpack.packb(item, use_bin_type=False) for item in items)


def members_of(**changes: object) -> object:
    (body,) = Decoder().feed(pack({"Members": [{**RAW, **changes}]}))
    assert isinstance(body, Body)
    (member,) = read_members(body)
    return member


headers = st.builds(Header, st.integers(0, 2**64 - 1), st.text())
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**32) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.binary(max_size=8) | st.sampled_from([b"Seq", b"Error"])
bodies = st.builds(
    Body,
    st.dictionaries(field_names, values, max_size=4).filter(
        lambda fields: not (b"Seq" in fields and b"Error" in fields)
    ),
)


def written(part: Part) -> bytes:
    if isinstance(part, Header):
        return pack({"Seq": part.seq, "Error": part.error})
    return pack(dict(part.fields))


@given(parts=st.lists(headers | bodies, max_size=6), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_parts_are_the_same_however_their_bytes_are_cut(parts, cuts):
    raw = b"".join(map(written, parts))
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    decoder = Decoder()
    read = [part for start, end in itertools.pairwise(edges) for part in decoder.feed(raw[start:end])]
    assert read == parts


def test_an_answer_is_read_byte_by_byte():
    raw = pack({"Seq": 3, "Error": ""}, {"Members": [RAW]})
    decoder = Decoder()
    parts = [part for place in range(len(raw)) for part in decoder.feed(raw[place : place + 1])]
    assert parts[0] == Header(3, "")
    assert read_members(parts[1])[0].address == "10.0.0.7:7946"


@settings(max_examples=300)
@given(chunks=st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_are_read_or_refused_and_never_raise_anything_else(chunks):
    decoder = Decoder()
    try:
        parts = [part for chunk in chunks for part in decoder.feed(chunk)]
    except MalformedAnswer:
        with pytest.raises(MalformedAnswer):
            decoder.feed(b"")
        return
    assert all(isinstance(part, Header | Body) for part in parts)


@settings(max_examples=300)
@given(body=bodies, event=st.sampled_from([b"member-join", b"user", b"query", None]), members=values)
def test_any_body_is_read_or_refused(body, event, members):
    strange = Body({**body.fields, b"Event": event, b"Members": members})
    for read in (read_event, read_members, read_stats):
        with suppress(MalformedAnswer):
            read(strange)


@pytest.mark.parametrize(
    "item",
    [7, [1], "text", {"Seq": "one", "Error": ""}, {"Seq": 1, "Error": 5}],
    ids=["number", "list", "text", "Seq that is no number", "Error that is no text"],
)
def test_what_is_no_answer_is_refused(item):
    with pytest.raises(MalformedAnswer, match="the Serf agent sent"):
        Decoder().feed(pack(item))


def test_a_list_that_claims_to_be_huge_is_refused_before_it_is_made():
    with pytest.raises(MalformedAnswer, match="not MessagePack"):
        Decoder().feed(b"\xdd\xff\xff\xff\xff")


def test_a_request_is_a_header_and_perhaps_a_body():
    plain, with_body = encode("members", 4), encode("stop", 5, {"Stop": 2})
    assert list(_unpacked(plain)) == [{b"Command": b"members", b"Seq": 4}]
    assert list(_unpacked(with_body)) == [{b"Command": b"stop", b"Seq": 5}, {b"Stop": 2}]


def test_bytes_and_text_are_written_in_the_old_format_that_the_agent_reads():
    assert encode("event", 1, {"Payload": b"\xff" * 40}).endswith(b"\xda\x00\x28" + b"\xff" * 40)


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        (bytes([10, 0, 0, 7]), "10.0.0.7"),
        (bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 7]), "10.0.0.7"),
        (bytes(15) + b"\x01", "::1"),
        (b"", ""),
        (None, ""),
    ],
)
def test_an_address_is_text_whether_go_wrote_four_or_sixteen_bytes(raw, host):
    assert members_of(Addr=raw).host == host


def test_an_address_of_ip_version_six_has_brackets_before_its_port():
    assert members_of(Addr=bytes(15) + b"\x01").address == "[::1]:7946"


def test_text_that_is_not_utf_8_stays_readable_and_distinct():
    assert text(b"ab\xff") == "ab\\xff"
    assert text(b"ab\xff") != text(b"ab\xfe")
    assert members_of(Tags={b"k": b"\xe9"}).tags == {"k": "\\xe9"}


def test_an_empty_list_written_as_nil_is_an_empty_list():
    assert read_members(Body({b"Members": None})) == ()


def test_events_are_told_apart():
    user = {b"Event": b"user", b"Name": b"deploy", b"Payload": b"\xff", b"LTime": 9, b"Coalesce": False}
    assert read_event(Body(user)) == UserEvent("deploy", b"\xff", 9, coalesce=False)
    assert read_event(Body({b"Event": b"member-reap", b"Members": []})) == MemberEvent("member-reap", ())
    query = {b"Event": b"query", b"ID": 5, b"Name": b"where", b"Payload": b"\xff", b"LTime": 9}
    assert read_event(Body(query)) == QueryEvent(5, "where", b"\xff", 9)
    assert read_event(Body({b"Event": b"burrow", b"ID": 5})) == OtherEvent("burrow")


def test_records_of_a_query_are_told_apart():
    assert read_query_record(Body({b"Type": b"ack", b"From": b"hare"})) == QueryAck("hare")
    assert read_query_record(Body({b"Type": b"response", b"From": b"hare", b"Payload": b"\xff"})) == QueryResponse(
        "hare", b"\xff"
    )
    assert read_query_record(Body({b"Type": b"done"})) == QueryDone()
    with pytest.raises(MalformedAnswer):
        read_query_record(Body({b"Type": b"carrot"}))


def test_coordinates_are_read_or_unknown():
    fields = {b"Vec": [0.1, 0], b"Height": 0.5, b"Adjustment": 0, b"Error": 1.5}
    assert read_coordinate(Body({b"Ok": True, b"Coord": fields})) == Coordinate((0.1, 0.0), 0.5, 0.0, 1.5)
    assert read_coordinate(Body({b"Ok": False, b"Coord": None})) is None
    for wrong in (None, {}, {b"Vec": [b"x"]}):
        with pytest.raises(MalformedAnswer):
            read_coordinate(Body({b"Ok": True, b"Coord": wrong}))


def test_reports_about_keys_are_read():
    body = {b"NumNodes": 2, b"NumResp": 2, b"NumErr": 1, b"Keys": {b"a2V5": 1}, b"Messages": {b"hare": b"no"}}
    assert read_key_report(Body(body)) == KeyReport(2, 2, 1, {"a2V5": 1}, {"hare": "no"})
    assert read_key_report(Body({b"NumNodes": 1, b"NumResp": 1, b"NumErr": 0, b"Keys": None})) == KeyReport(1, 1, 0)


def _unpacked(raw: bytes) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(raw)
    return unpacker
