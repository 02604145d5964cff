"""Proof instead of belief: keys, signatures and tokens."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from warrener import setting_files
from warrener.errors import Forged, InvalidSettings
from warrener.ids import AttemptRef, BootId, RunId, WorkerName
from warrener.signing import ClaimKey, SubmitKey, make_keys, read_keys, read_submit_key, read_verifier, same_token

REF = AttemptRef(RunId("0" * 16), 1, 2)
WORKER, BOOT = WorkerName("job-a"), BootId("b1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "deployment" / "keys"
    make_keys(folder)
    return folder


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    names = {"submit.key", "claims.key", "orders.key", "orders.pub", "gossip.key"}
    assert {path.name for path in folder.iterdir()} == names
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_making_keys_again_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    make_keys(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_programs_that_make_keys_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(make_keys, [tmp_path / "keys"] * 8))
    keys = read_keys(tmp_path / "keys")
    read_verifier(tmp_path / "keys").check(b"body", keys.signer.sign(b"body"))
    assert not list((tmp_path / "keys").glob(".*"))


def test_keys_may_be_open_where_container_engines_mount_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    monkeypatch.setattr(setting_files, "MOUNTED", folder)
    read_keys(folder)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
@pytest.mark.parametrize("name", ["submit.key", "claims.key", "orders.key"])
def test_a_secret_that_others_can_read_is_refused(folder: Path, name: str, mode: int) -> None:
    (folder / name).chmod(mode)
    with pytest.raises(InvalidSettings, match=rf"{name} can be read by others; run: chmod 600"):
        read_keys(folder)


def test_the_public_key_may_be_read_by_all(folder: Path) -> None:
    (folder / "orders.pub").chmod(0o644)
    read_verifier(folder)


def test_a_missing_key_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"submit\.key; make the keys of a deployment with `warrener keys"):
        read_submit_key(tmp_path)


@pytest.mark.parametrize("content", ["", "zz", "00", "00" * 31, "00" * 33])
def test_a_damaged_key_is_named(folder: Path, content: str) -> None:
    (folder / "claims.key").write_text(content)
    with pytest.raises(InvalidSettings, match=r"claims\.key"):
        read_keys(folder)


def test_a_submission_is_proved_by_its_key(folder: Path) -> None:
    key = read_submit_key(folder)
    signature = key.sign(b"body")
    key.check(b"body", signature)
    for body, wrong in ((b"Body", signature), (b"body", ""), (b"body", signature[:-1]), (b"body", "é" * 64)):
        with pytest.raises(Forged, match=r"submit\.key"):
            key.check(body, wrong)
    with pytest.raises(Forged):
        SubmitKey(b"another").check(b"body", signature)


def test_an_order_is_proved_by_its_scheduler(folder: Path, tmp_path: Path) -> None:
    signer, verifier = read_keys(folder).signer, read_verifier(folder)
    signature = signer.sign(b"body")
    verifier.check(b"body", signature)
    assert len(signature) == 128
    make_keys(tmp_path / "other")
    for body, wrong in (
        (b"Body", signature), (b"body", ""), (b"body", "not hex"), (b"body", signature[:-2]),
        (b"body", read_keys(tmp_path / "other").signer.sign(b"body")),
    ):  # fmt: skip
        with pytest.raises(Forged, match=r"orders\.pub"):
            verifier.check(body, wrong)


def test_the_signer_and_the_public_file_belong_together(folder: Path) -> None:
    signer = read_keys(folder).signer
    signer.verifier().check(b"x", signer.sign(b"x"))
    read_verifier(folder).check(b"x", signer.sign(b"x"))


def test_a_token_names_attempt_worker_and_boot() -> None:
    key = ClaimKey(b"secret")
    token = key.token(REF, WORKER, BOOT)
    assert len(token) == 32
    assert same_token(token, ClaimKey(b"secret").token(REF, WORKER, BOOT))
    others = {
        key.token(REF._replace(attempt=3), WORKER, BOOT),
        key.token(REF._replace(n=2), WORKER, BOOT),
        key.token(REF._replace(run=RunId("1" * 16)), WORKER, BOOT),
        key.token(REF, WorkerName("job-b"), BOOT),
        key.token(REF, WORKER, BootId("b2")),
        key.direct_token(REF, "app"),
        key.direct_token(REF, "other"),
        ClaimKey(b"another").token(REF, WORKER, BOOT),
    }
    assert len(others) == 8
    assert token not in others


def test_a_token_of_odd_letters_is_just_wrong() -> None:
    assert not same_token("0" * 32, "é" * 32)
