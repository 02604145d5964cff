"""Serf's RPC protocol as bytes: MessagePack objects one after another, without frames; no I/O in here.

A request is a header {Command, Seq} and, for some commands, a body. An answer is a header {Seq, Error} and
sometimes a body. Whether a body follows cannot be seen in the header, and not always be known beforehand (a
failed `join` has one, a `join` refused for want of a key has none). But no body has both fields of a header,
so the shape of an object tells what it is: a body belongs to the header before it.

The agent speaks the old MessagePack without a type for bytes: text arrives as bytes and is decoded where it
is known to be text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgpack

from warrener.serfrpc.errors import MalformedAnswer

RPC_VERSION = 1
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The largest object read; the members of the largest known pools take a tenth of it."""
_MAX_ITEMS = 200_000


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of an answer, or of a record of a stream; `error` is empty when all is well."""

    seq: int
    error: str


@dataclass(frozen=True, slots=True)
class Body:
    """What belongs to the header before it."""

    fields: Mapping[bytes, Any]


Part: TypeAlias = Header | Body


def encode(command: str, seq: int, body: Mapping[str, object] | None = None) -> bytes:
    """Write one request."""
    parts: list[Mapping[str, object]] = [{"Command": command, "Seq": seq}]
    if body is not None:
        parts.append(body)
    return b"".join(msgpack.packb(part, use_bin_type=False) for part in parts)


def text(raw: object) -> str:
    r"""Read text that strangers may have written: what is not UTF-8 shows as \xNN and stays distinct."""
    if not isinstance(raw, bytes):
        raise MalformedAnswer(f"the Serf agent sent {type(raw).__name__} where text belongs")
    return raw.decode("utf-8", errors="backslashreplace")


class Decoder:
    """Turns the bytes of a connection into parts, however they are cut.

    After MalformedAnswer nothing more can be read: where the next object begins is not known.
    """

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(
            raw=True,
            max_buffer_size=MAX_ANSWER_BYTES,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
        )
        self._broken = False

    def feed(self, data: bytes) -> list[Part]:
        """Return the parts that these bytes complete; raises MalformedAnswer."""
        if self._broken:
            raise MalformedAnswer("the Serf agent's answers cannot be read since an earlier fault")
        try:
            self._unpacker.feed(data)
            return [_part(item) for item in self._unpacker]
        except MalformedAnswer:
            self._broken = True
            raise
        except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
            self._broken = True
            raise MalformedAnswer(f"the Serf agent sent what is not MessagePack: {error}") from error


def _part(item: object) -> Part:
    if not isinstance(item, dict):
        raise MalformedAnswer(f"the Serf agent sent {type(item).__name__} where an answer belongs")
    if b"Seq" not in item or b"Error" not in item:
        return Body(item)
    seq = item[b"Seq"]
    if not isinstance(seq, int):
        raise MalformedAnswer("the Serf agent sent an answer whose Seq is no number")
    return Header(seq, text(item[b"Error"]))
