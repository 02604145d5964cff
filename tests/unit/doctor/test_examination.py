"""The whole examination: whatever happens to one look, the others are told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from warrener.settings import Settings
from warrener_services.cli.doctor import examination, gateway, host
from warrener_services.cli.doctor.findings import Finding, Health, well


async def stumbles(_: Settings) -> list[Finding]:
    raise LookupError("postgresql://hare:sesame@db has no such thing")


async def sees(_: Settings) -> list[Finding]:
    return [well("other", "seen")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARRENER_STATE", str(tmp_path))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    return {(one := json.loads(line))["about"]: one for line in capsys.readouterr().out.splitlines()}


@pytest.mark.parametrize("broker", ["amqp://", "amqp://hare:sesame@rabbit:99999/", "rabbit:5672"])
@pytest.mark.parametrize("store", ["postgresql//hare:sesame@db", "postgresql://hare:sesame@db:x/warrener", "db"])
@pytest.mark.usefixtures("home")
def test_wrong_urls_are_told_beside_all_other_findings(
    broker: str, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARRENER_BROKER", broker)
    monkeypatch.setenv("WARRENER_STORE", store)
    assert examination.examine(as_json=True)
    found = told(capsys)
    assert "WARRENER_BROKER" in found["broker"]["says"]
    assert "WARRENER_STORE" in found["store"]["says"]
    assert found["state folder"]["says"]
    assert found["gateway"]["says"]
    assert "sesame" not in str(found)


@pytest.mark.usefixtures("home")
def test_a_look_that_stumbles_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(examination, "_LOOKS", (("one", stumbles), ("other", sees)))
    assert examination.examine(as_json=True)
    found = told(capsys)
    assert found["one"]["says"] == ("the doctor stumbled: LookupError: postgresql://hare:***@db has no such thing")
    assert "report it" in found["one"]["do"]
    assert found["other"]["says"] == "seen"


@pytest.mark.parametrize("variable", ["WARRENER_GATEWAY", "WARRENER_LISTEN"])
async def test_a_gateway_that_should_be_there_and_is_not_is_a_fault(variable: str, home: Path) -> None:
    url = f"unix:{home}/nobody.sock"
    given = {variable.removeprefix("WARRENER_").lower(): url}
    (finding,) = await gateway.look(Settings(**given))
    assert (finding.health, variable.removeprefix("WARRENER") in finding.do) == (Health.FAULT, True)
    (finding,) = await gateway.look(Settings(state=home))
    assert finding.health is Health.UNUSED


def test_a_file_system_that_hangs_is_named_and_holds_nobody_up(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "routes.yaml"
    os.mkfifo(file)  # whoever reads it waits for ever, as on a dead file system
    monkeypatch.setenv("WARRENER_ALERT_ROUTES", str(file))
    monkeypatch.setattr(examination, "_LIMIT_S", 3.0)
    assert examination.examine(as_json=True)
    found = told(capsys)
    assert "no answer within 3 s" in found["mail"]["says"]
    assert "file system" in found["mail"]["do"]
    assert "can be written to" in found["state folder"]["says"]
    assert found["gateway"]["health"] == "unused"
    os.close(os.open(file, os.O_WRONLY))  # let its reader go


async def test_a_folder_of_two_names_is_told_once(home: Path) -> None:
    given = Settings(state=home, site_root=home)
    assert [finding.about for name, look in host.LOOKS[2:5] for finding in await look(given) if name] == [
        "state folder", "archive folder"
    ]  # fmt: skip


@pytest.mark.usefixtures("home")
def test_what_gossip_is_to_tell_and_does_not_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARRENER_JOIN", "meadow:7946")
    examination.examine(as_json=True)
    found = told(capsys)
    assert found["deployment"]["health"] == "warning"
    assert "what is not set was not looked at" in found["deployment"]["says"]
    assert "`warrener find meadow:7946`" in found["deployment"]["do"]
    assert "gossip has not told" in found["broker"]["says"]
    assert "workers do not" in found["store"]["says"]
