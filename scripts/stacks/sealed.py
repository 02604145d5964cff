"""The secrets of a stack: made once, kept in one folder that only its owner may enter.

The files themselves can be read by everybody (0444): Compose mounts them as they are, and the programs in containers
are users of their own, whose numbers differ from image to image. On the host the folder (0700) keeps all others out.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from warrener.signing import make_keys

_VALID = timedelta(days=3650)
KEYS = {"submit.key", "claims.key", "orders.key", "orders.pub", "gossip.key"}
BROKER_CONF = """\
default_vhost = warrener
default_user = warrener
default_pass = {password}
disk_free_limit.absolute = 1GB
vm_memory_high_watermark.absolute = 600MB
"""
"""Below the memory limit of the container, so that RabbitMQ blocks publishers before the kernel kills it."""


def make_secrets(folder: Path) -> list[str]:
    """Make what is missing, and return its names; what is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    before = {path.name for path in folder.iterdir()}
    _make_keys(folder)
    of_broker, of_database = _password(), _password()
    # Together, as they must fit; a file that somebody removed is made anew with all that belong to it.
    _write_all(
        folder,
        {
            "broker": f"amqp://warrener:{of_broker}@broker:5672/warrener",
            "broker.conf": BROKER_CONF.format(password=of_broker),
        },
    )
    _write_all(
        folder,
        {
            "store": f"postgresql://warrener:{of_database}@database:5432/warrener",
            "database-password": of_database,
        },
    )
    _write_all(folder, {"token": _password()})
    _write_all(folder, _certificate("mail"))
    for path in folder.iterdir():
        path.chmod(0o444)
    return sorted({path.name for path in folder.iterdir()} - before)


def _make_keys(folder: Path) -> None:
    if any(not (folder / name).exists() for name in KEYS):
        for path in folder.glob("*.key"):
            path.chmod(0o600)  # else they are refused
        make_keys(folder)


def _write_all(folder: Path, contents: dict[str, str]) -> None:
    if all((folder / name).is_file() for name in contents):
        return
    for name, content in contents.items():
        draft = folder / f".{name}.{os.getpid()}"
        draft.write_text(content.rstrip("\n") + "\n")
        draft.replace(folder / name)


def _certificate(host: str) -> dict[str, str]:
    """Return a certificate that a host signed for itself, and its key: `HOST.crt`, `HOST.pem`."""
    private = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, None)
    )
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {f"{host}.crt": certificate.public_bytes(Encoding.PEM).decode(), f"{host}.pem": key.decode()}


def _password() -> str:
    return secrets.token_hex(32)
