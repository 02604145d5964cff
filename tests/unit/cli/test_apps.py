"""`--app` finds the workers of a module, or says what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from warrener.errors import InvalidSettings
from warrener_services.cli.apps import load_apps

_WORKERS = 'import warrener\none = warrener.Worker("one")\ntwo = warrener.Worker("two")\n'


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_workers.py").write_text(_WORKERS)
    (tmp_path / "my_empty.py").write_text("")
    (tmp_path / "my_broken.py").write_text("\n1 / 0\n")
    (tmp_path / "my_needy.py").write_text("import no_such_module_at_all\n")
    (tmp_path / "my_twin.py").write_text('import warrener\nx = warrener.Worker("one")\n')


def test_all_workers_of_a_module_are_found_or_the_one_that_is_named() -> None:
    assert [worker.app for worker in load_apps(["my_workers"])] == ["one", "two"]
    assert [worker.app for worker in load_apps(["my_workers:two"])] == ["two"]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (["my_nothing"], "no module my_nothing"),
        (["my_empty"], r'warrener.Worker\("my-empty"\)'),
        (["my_workers:three"], "no warrener.Worker named 'three'"),
        (["my_broken"], r"ZeroDivisionError: division by zero \(my_broken.py:2\)"),
        (["my_needy"], "needs no_such_module_at_all"),
        (["my_workers.py"], "name of a module"),
        (["my_workers", "my_twin"], "two workers are named 'one'"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(named: list[str], sentence: str) -> None:
    with pytest.raises(InvalidSettings, match=sentence):
        load_apps(named)
