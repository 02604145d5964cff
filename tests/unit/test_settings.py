"""Settings come from variables, and their errors name them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from warrener.errors import InvalidSettings
from warrener.settings import Settings


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("WARRENER_")]:
        monkeypatch.delenv(name)


def test_everything_has_a_default_for_one_machine() -> None:
    settings = Settings.read(state=Path("/s"))
    assert settings.store_url == "sqlite:////s/warrener.db"
    assert settings.broker == "memory://"
    assert settings.keys_folder == Path("/s/keys")
    assert settings.site_folder == Path("/s/site")
    assert settings.secrets_folder == Path("/s/secrets")
    assert settings.listen_url == settings.gateway_url == "unix:/s/gateway.sock"


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STORE": "postgresql://h/d", "LEASE": "45s", "SHARDS": "8", "KEYS": "/k", "STAGE_ROOTS": "/a:/b",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"WARRENER_{name}", value)
    settings = Settings.read()
    assert settings.store_url == "postgresql://h/d"
    assert settings.lease == timedelta(seconds=45)
    assert settings.shards == 8
    assert settings.keys_folder == Path("/k")
    assert settings.stage_roots == (Path("/a"), Path("/b"))


def test_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARRENER_SHARDS", "8")
    assert Settings.read(shards=4).shards == 4


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHARDS", "0"),
        ("SHARDS", "2000"),
        ("SLOTS", "many"),
        ("WORKER", "Bad_Name"),
        ("SITE", "-x"),
        ("LEASE", "soon"),
        ("ENV_BUILDER", "conda"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"WARRENER_{variable}", value)
    with pytest.raises(InvalidSettings, match=rf"^WARRENER_{variable}: "):
        Settings.read()


def test_every_problem_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARRENER_SHARDS", "0")
    monkeypatch.setenv("WARRENER_SLOTS", "0")
    with pytest.raises(InvalidSettings) as caught:
        Settings.read()
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {"WARRENER_SHARDS", "WARRENER_SLOTS"}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.read().shards = 3
