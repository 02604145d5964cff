"""What a worker finds on its host."""

from __future__ import annotations

from pathlib import Path

import pytest

from warrener.worker.attributes import attributes_of_host


def test_the_host_is_looked_at() -> None:
    found = attributes_of_host()
    assert found.cores >= 1
    assert found.memory_mib > 100
    assert found.platform.startswith("Linux ")
    assert found.python.startswith("3.")


def test_software_is_what_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "burrow").write_text("#!/bin/sh\n")
    (tmp_path / "burrow").chmod(0o755)
    (tmp_path / "no-program").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert attributes_of_host(software=["burrow", "no-program", "warren", "burrow"]).software == ["burrow"]


def test_labels_have_values_or_none() -> None:
    assert attributes_of_host(labels=["ssd", "rack=a3", "a=b=c"]).labels == {"ssd": "", "rack": "a3", "a": "b=c"}
