"""What a builder finds in its environment variables: where packages come from, no secret of the worker."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

_NOT_FOR_BUILDERS = ("WARRENER_", "PYTHON", "VIRTUAL_ENV", "CONDA", "__PYVENV")
"""Prefixes. A source distribution runs code of strangers: it must not see the password of the broker."""

_PLACES_OF_OTHERS = frozenset(
    {
        "PIP_PREFIX",
        "PIP_REQUIRE_VIRTUALENV",
        "PIP_ROOT",
        "PIP_TARGET",
        "PIP_USER",
        "UV_PROJECT_ENVIRONMENT",
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
    }
)

_PIP_TO_UV = {
    "index-url": ("UV_DEFAULT_INDEX", " ", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", " ", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS", ",", "UV_FIND_LINKS"),
    "no-index": ("UV_NO_INDEX", " ", "UV_NO_INDEX"),
    "cert": ("SSL_CERT_FILE", " ", "SSL_CERT_FILE"),
}
"""Option of pip → variable of uv, what separates several values there, and the variable's older name."""


def for_builders(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for building: clean, with pip's configuration said in uv's words too.

    What is set for uv itself wins over what pip is told.
    """
    clean = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_NOT_FOR_BUILDERS) and name not in _PLACES_OF_OTHERS
    }
    defaults = {
        "UV_SYSTEM_CERTS": "1",  # networks with an authority of their own; pip does it by itself
        "UV_LINK_MODE": "copy",  # a job that edits its packages must not reach the cache of all others
        "UV_NO_PROGRESS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_PROGRESS_BAR": "off",
    }
    forced = {
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_NO_INPUT": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
    }
    return defaults | _said_to_uv(clean) | clean | forced


def _said_to_uv(environ: Mapping[str, str]) -> dict[str, str]:
    said = {}
    for option, value in _pip_options(environ).items():
        if option in _PIP_TO_UV and value.strip():
            variable, separator, older = _PIP_TO_UV[option]
            if older not in environ:
                said[variable] = separator.join(value.split())
    if "UV_INDEX" in said:
        # To pip all indexes are equal. Who configured them for pip gets the same packages from uv; who configures uv
        # itself keeps its safer rule, that the first index which knows a name is the only one asked.
        said["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return said


def _pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Read pip's options as pip does: global, user and named files, then variables; later ones win."""
    options: dict[str, str] = {}
    for file in _pip_files(environ):
        options |= _options_in(file)
    for name, value in environ.items():
        if name.startswith("PIP_"):
            options[name[4:].lower().replace("_", "-")] = value
    return options


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME", "/nonexistent"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        config / "pip/pip.conf",
    ]
    return [*files, Path(named)] if named else files


def _options_in(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}  # pip itself complains about it, to whom it may concern
    return {
        option.replace("_", "-"): value
        for section in ("global", "install")
        if parser.has_section(section)
        for option, value in parser.items(section)
    }
