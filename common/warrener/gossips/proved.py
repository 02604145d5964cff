"""What is told to the whole pool, with a proof: every member can speak there, and only some may be believed."""

from __future__ import annotations

from typing import TypeVar

from warrener.errors import Forged
from warrener.messages import Body, decode, encode
from warrener.signing import OrderSigner, OrderVerifier

B = TypeVar("B", bound=Body)


def proved(body: Body, signer: OrderSigner) -> bytes:
    """Write a body with its signature before it; its kind says what it is, so that it passes for nothing else."""
    raw = encode(body)
    return signer.sign(raw).encode() + b"\n" + raw


def read_proved(told: bytes, verifier: OrderVerifier, expected: type[B]) -> B:
    """Read what was told; raises Forged or InvalidMessage."""
    signature, _, raw = told.partition(b"\n")
    try:
        verifier.check(raw, signature.decode())
    except (Forged, UnicodeDecodeError):
        raise Forged("it is not signed with the orders.key of this deployment") from None
    return decode(expected.KIND, raw, expected)
