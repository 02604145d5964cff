"""Reading words that are no UTF-8, which the AMQP library refuses to read.

It then closes the connection; the broker delivers the message again, and one such message, from whoever may write to
the broker, would keep its readers from working for ever. So a wrong sign is read as `�`, and headers that cannot be
read are left out: the message comes in, and is parked like any other that makes no sense.
"""

from __future__ import annotations

from typing import Any

from pamqp import decode


def read_wrong_words() -> None:
    """Teach it to the library, for this whole process."""
    decode.METHODS["shortstr"] = _short_str
    decode.METHODS["table"] = _table


def _short_str(value: bytes) -> tuple[int, str]:
    if not value:
        raise ValueError("Could not unpack short string value")
    end = value[0] + 1
    return end, value[1:end].decode("utf-8", "replace")


def _table(value: bytes) -> tuple[int, dict[str, Any]]:
    try:
        return decode.field_table(value)
    except UnicodeDecodeError:
        return 4 + int.from_bytes(value[:4], "big"), {}
