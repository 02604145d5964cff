"""A setting may stand in a file, as containers are handed their secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from warrener import setting_files
from warrener.errors import InvalidSettings
from warrener.settings import Settings


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WARRENER_")]:
        monkeypatch.delenv(name)


def _written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_setting_is_read_from_its_file_without_what_surrounds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WARRENER_TOKEN_FILE", str(_written(tmp_path / "token", "  abc\n")))
    monkeypatch.setenv("WARRENER_SHARDS_FILE", str(_written(tmp_path / "shards", "8\n")))
    monkeypatch.setenv("WARRENER_STAGE_ROOTS_FILE", str(_written(tmp_path / "roots", "/a:/b\n")))
    settings = Settings.read()
    assert (settings.token, settings.shards) == ("abc", 8)
    assert settings.stage_roots == (Path("/a"), Path("/b"))


def test_a_variable_and_its_file_exclude_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARRENER_TOKEN_FILE", str(_written(tmp_path / "token", "abc")))
    monkeypatch.setenv("WARRENER_TOKEN", "def")
    with pytest.raises(InvalidSettings, match=r"^WARRENER_TOKEN_FILE: WARRENER_TOKEN is set too"):
        Settings.read()


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARRENER_TOKEN_FILE", str(_written(tmp_path / "token", "abc")))
    monkeypatch.setenv("WARRENER_TOKEN", "")
    monkeypatch.setenv("WARRENER_STORE_FILE", "")
    assert Settings.read().token == "abc"


def test_what_is_given_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARRENER_BROKER_FILE", "/nowhere")
    assert Settings.read(broker="memory://").broker == "memory://"


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("abc", 0o644, "can be read by others; run: chmod 600 {path}"),
        ("", 0o600, "{path} is empty"),
        (" \n", 0o600, "{path} is empty"),
        ("one\ntwo\n", 0o600, "{path} has more than one line"),
        ("x" * 70_000, 0o600, "{path} has more than one line"),
    ],
)
def test_a_file_that_will_not_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, mode: int, sentence: str
) -> None:
    path = _written(tmp_path / "token", text, mode)
    monkeypatch.setenv("WARRENER_TOKEN_FILE", str(path))
    with pytest.raises(InvalidSettings, match="^WARRENER_TOKEN_FILE: .*" + re.escape(sentence.format(path=path))):
        Settings.read()


def test_no_file_no_text_and_a_folder_are_named_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "bytes").chmod(0o600)
    monkeypatch.setenv("WARRENER_BROKER_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("WARRENER_STORE_FILE", str(tmp_path))
    monkeypatch.setenv("WARRENER_TOKEN_FILE", str(tmp_path / "bytes"))
    with pytest.raises(InvalidSettings) as caught:
        Settings.read()
    assert str(caught.value).splitlines() == [
        f"WARRENER_BROKER_FILE: there is no file {tmp_path}/nothing",
        f"WARRENER_STORE_FILE: {tmp_path} is a folder; a mount of a file that is missing makes one",
        f"WARRENER_TOKEN_FILE: {tmp_path}/bytes is no text in UTF-8",
    ]


def test_the_group_may_read_and_engines_mount_secrets_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARRENER_TOKEN_FILE", str(_written(tmp_path / "token", "abc", 0o640)))
    assert Settings.read().token == "abc"
    (tmp_path / "token").chmod(0o444)
    monkeypatch.setattr(setting_files, "MOUNTED", tmp_path)
    assert Settings.read().token == "abc"


def test_a_wrong_value_names_the_variable_of_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARRENER_SHARDS_FILE", str(_written(tmp_path / "shards", "many")))
    with pytest.raises(InvalidSettings, match=r"^WARRENER_SHARDS_FILE: "):
        Settings.read()


def test_a_file_of_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARRENER_TOKN_FILE", "/x")
    with pytest.raises(InvalidSettings, match=r"WARRENER_TOKN_FILE: there is no such setting; did you mean .*_FILE\?"):
        Settings.read()
