"""Proof instead of belief: who may submit, whose order this is, who holds an attempt.

* Submissions carry HMAC-SHA256 of the body under the submit key, in the header `signature` (hex).
* Orders carry an Ed25519 signature (RFC 8032) of the body, in the same header. Workers have the public key only.
* A claim token is the first 128 bits of HMAC-SHA256(claim key, attempt, worker, boot), in hex, never stored: whoever
  owns the shard derives it again. A direct call's order carries the token of (attempt, app).

The keys of a deployment are files of one folder, mode 0600: `submit.key`, `claims.key`, `orders.key`, `orders.pub`,
and `gossip.key`, which encrypts what Serf's agents say. A worker host needs `orders.pub`, and `gossip.key` if an agent
runs there, a submitting client `submit.key` alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from warrener.errors import Forged, InvalidSettings
from warrener.ids import AttemptRef, BootId, WorkerName
from warrener.setting_files import is_open_to_others

HEADER = "signature"


class SubmitKey:
    """Shared by those who may submit and the schedulers."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()

    def check(self, body: bytes, signature: str) -> None:
        """Raise Forged unless the signature is of this body and key."""
        if not hmac.compare_digest(self.sign(body).encode(), signature.encode()):
            raise Forged("a submission whose signature does not fit: was it signed with this deployment's submit.key?")


class ClaimKey:
    """Held by schedulers; derives the tokens."""

    def __init__(self, secret: bytes) -> None:
        self._base = hmac.new(secret, digestmod=hashlib.sha256)

    def token(self, ref: AttemptRef, worker: WorkerName, boot: BootId) -> str:
        return self._derive(f"{ref}\0{worker}\0{boot}")

    def direct_token(self, ref: AttemptRef, app: str) -> str:
        return self._derive(f"{ref}\0{app}")

    def _derive(self, text: str) -> str:
        mac = self._base.copy()
        mac.update(text.encode())
        return mac.hexdigest()[:32]


def same_token(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


class OrderSigner:
    """Held by schedulers."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    def sign(self, body: bytes) -> str:
        return self._private.sign(body).hex()

    def verifier(self) -> OrderVerifier:
        return OrderVerifier(self._private.public_key())


class OrderVerifier:
    """Held by workers."""

    def __init__(self, public: Ed25519PublicKey) -> None:
        self._public = public

    def check(self, body: bytes, signature: str) -> None:
        """Raise Forged unless a scheduler of this deployment signed this body."""
        try:
            self._public.verify(bytes.fromhex(signature), body)
        except (InvalidSignature, ValueError):
            raise Forged("an order that no scheduler of this deployment signed: is orders.pub the right one?") from None


@dataclass(frozen=True, slots=True)
class Keys:
    """Everything a scheduler holds."""

    submit: SubmitKey
    claims: ClaimKey
    signer: OrderSigner


def make_keys(folder: Path) -> None:
    """Write the keys of a new deployment; those that are there stay as they are."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = Ed25519PrivateKey.generate()
    _write_new(folder / "submit.key", secrets.token_hex(32).encode())
    _write_new(folder / "claims.key", secrets.token_hex(32).encode())
    _write_new(folder / "gossip.key", secrets.token_hex(32).encode())
    _write_new(folder / "orders.key", private.private_bytes_raw().hex().encode())
    signer = _signer(folder)
    public = signer._private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)  # noqa: SLF001 - same module
    _write_new(folder / "orders.pub", public.hex().encode())


def read_keys(folder: Path) -> Keys:
    """Read what a scheduler needs; raises InvalidSettings with the file and what to do."""
    return Keys(read_submit_key(folder), ClaimKey(_read_secret(folder / "claims.key")), _signer(folder))


def read_submit_key(folder: Path) -> SubmitKey:
    """Read what a submitting client needs; raises InvalidSettings."""
    return SubmitKey(_read_secret(folder / "submit.key"))


def read_verifier(folder: Path) -> OrderVerifier:
    """Read what a worker needs; raises InvalidSettings."""
    return OrderVerifier(Ed25519PublicKey.from_public_bytes(_read_hex(folder / "orders.pub")))


def read_signer(folder: Path) -> OrderSigner:
    """Read what signs orders, and where the deployment is; raises InvalidSettings."""
    return _signer(folder)


def read_gossip_key(path: Path) -> bytes:
    """Read what a Serf agent needs; raises InvalidSettings."""
    return _read_secret(path)


def _signer(folder: Path) -> OrderSigner:
    return OrderSigner(Ed25519PrivateKey.from_private_bytes(_read_secret(folder / "orders.key")))


def _write_new(path: Path, content: bytes) -> None:
    """Create a file whole, or leave the one that is there: two programs may do this at the same time."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read_secret(path: Path) -> bytes:
    content = _read_hex(path)
    if is_open_to_others(path):
        raise InvalidSettings(f"{path} can be read by others; run: chmod 600 {path}")
    return content


def _read_hex(path: Path) -> bytes:
    try:
        content = bytes.fromhex(path.read_text().strip())
    except FileNotFoundError:
        raise InvalidSettings(
            f"there is no {path}; make the keys of a deployment with `warrener keys {path.parent}`, or"
            " point WARRENER_KEYS to the folder that has them"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"cannot read the key {path}: {error}") from error
    if len(content) != 32:  # noqa: PLR2004 - Ed25519 keys and our secrets alike
        raise InvalidSettings(f"the key {path} has {len(content)} bytes; it should have 32")
    return content
