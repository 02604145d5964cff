"""Secrets are fetched with care, and nothing that a job says lets them out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.errors import Cause, TaskFailed
from warrener_services.job_submission.redaction import RedactedText, Redaction, fetch


@pytest.fixture
def secrets(tmp_path):
    def put(name, value, mode=0o600):
        (tmp_path / name).write_bytes(value)
        (tmp_path / name).chmod(mode)

    put("good", b"canary\n")
    put("open", b"canary", 0o644)
    put("empty", b"\n")
    put("nul", b"a\0b")
    (tmp_path / "link").symlink_to(tmp_path / "good")
    (tmp_path / "folder").mkdir()
    return tmp_path


def test_a_secret_is_its_file_without_the_last_newline(secrets):
    assert fetch("secret://good", secrets) == "canary"


@pytest.mark.parametrize(
    "name", ["open", "empty", "nul", "link", "folder", "missing", "../good", "", ".good", "a/b", "x" * 65, "a\n"]
)
def test_a_secret_that_is_not_safe_is_refused_without_its_value(secrets, name):
    with pytest.raises(TaskFailed) as failed:
        fetch(f"secret://{name}", secrets)
    assert failed.value.cause is Cause.REFUSED
    assert "canary" not in str(failed.value)


@given(st.data())
def test_no_way_of_cutting_a_stream_lets_a_secret_out(data):
    raw = b"before hunter2 and hunter2hunter2 then p\xc3\xa4ss \xff after hunt"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    text = RedactedText(Redaction(["hunter2", "päss"]))
    pieces = [text.feed(raw[a:b]) for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    said = "".join(pieces) + text.feed(b"", final=True)
    assert said == "before *** and ****** then *** \ufffd after hunt"


def test_an_output_is_redacted_in_every_place():
    redaction = Redaction(["canary", "12345"])
    output = {"a": ["x canary y", 12345, 1, None, True], "canary": {"b": "canarycanary"}}
    assert redaction.json(output) == {"a": ["x *** y", "***", 1, None, True], "***": {"b": "******"}}


def test_without_secrets_nothing_changes():
    assert Redaction([]).json({"a": ["***", 1.5]}) == {"a": ["***", 1.5]}
    assert RedactedText(Redaction([])).feed(b"abc") == "abc"


def test_the_longer_of_two_secrets_is_hidden_whole():
    assert Redaction(["abc", "abcdef"]).text("abcdef abc") == "*** ***"


def test_nul_is_no_text():
    assert RedactedText(Redaction([])).feed(b"a\0b") == "a\ufffdb"
