"""What a builder finds in its environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from warrener.environments.surroundings import for_builders


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The variables of a user without any configuration of pip."""
    return {"HOME": str(tmp_path), "PATH": "/usr/bin", "PIP_CONFIG_FILE": "/dev/null"}


def test_variables_of_the_worker_and_of_other_environments_are_left_out(bare: dict[str, str]) -> None:
    foreign = {
        "WARRENER_BROKER": "amqp://u:p@h/",
        "WARRENER_TOKEN": "t",
        "VIRTUAL_ENV": "/v",
        "PYTHONPATH": "/p",
        "PIP_TARGET": "/t",
        "UV_PYTHON": "3.9",
    }
    assert not for_builders(bare | foreign).keys() & foreign.keys()


def test_certificates_of_the_system_are_used_and_no_python_is_downloaded(bare: dict[str, str]) -> None:
    environ = for_builders(bare | {"UV_PYTHON_DOWNLOADS": "automatic"})
    assert environ["UV_SYSTEM_CERTS"] == "1"
    assert environ["UV_PYTHON_DOWNLOADS"] == "never"


def test_what_pip_is_told_by_variables_is_said_to_uv(bare: dict[str, str]) -> None:
    environ = for_builders(
        bare
        | {
            "PIP_INDEX_URL": "https://mirror/simple",
            "PIP_EXTRA_INDEX_URL": "https://one/simple https://two/simple",
            "PIP_FIND_LINKS": "/wheels /more",
        }
    )
    assert environ["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert environ["UV_INDEX"] == "https://one/simple https://two/simple"
    assert environ["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environ["UV_FIND_LINKS"] == "/wheels,/more"
    assert environ["PIP_INDEX_URL"] == "https://mirror/simple"


def test_what_pip_is_told_by_files_is_said_to_uv_and_variables_win(bare: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://file/simple\nfind_links =\n    /wheels\n    /more\n[install]\nno-index = yes\n"
    )
    environ = for_builders(bare | {"PIP_CONFIG_FILE": str(file), "PIP_INDEX_URL": "https://variable/simple"})
    assert environ["UV_DEFAULT_INDEX"] == "https://variable/simple"
    assert environ["UV_FIND_LINKS"] == "/wheels,/more"
    assert environ["UV_NO_INDEX"] == "yes"


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_uv_is_told_itself_wins(bare: dict[str, str], name: str) -> None:
    environ = for_builders(bare | {"PIP_INDEX_URL": "https://pip/simple", name: "https://uv/simple"})
    assert environ[name] == "https://uv/simple"
    assert "UV_INDEX_STRATEGY" not in environ
    assert "https://pip/simple" not in [environ.get("UV_DEFAULT_INDEX"), environ.get("UV_INDEX_URL")]


def test_a_broken_file_of_pip_is_left_to_pip(bare: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_bytes(b"\xff no section")
    assert "UV_DEFAULT_INDEX" not in for_builders(bare | {"PIP_CONFIG_FILE": str(file)})
