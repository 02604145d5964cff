"""What people read must be true: examples parse, drawn parts are up to date, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from _pytest.mark import ParameterSet

from drawing import language, messages, settings, states
from warrener import Workflow, filters
from warrener.messages import KINDS
from warrener.reading import read_workflow
from warrener.settings import Settings
from warrener.states import State
from warrener.workflow_schema import json_schema
from warrener_services.elastic.rules import read_rules

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "scripts/README.md", *sorted(DOCS.rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def _examples(language: str) -> list[ParameterSet]:
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, (said, text) in enumerate(_BLOCK.findall(page.read_text()))
        if said == language and not text.startswith("routes:\n")  # of alerts: tests/unit/gossip/test_routes.py
    ]


@pytest.mark.parametrize("text", _examples("yaml"))
def test_every_workflow_of_the_documentation_is_accepted(text: str, tmp_path: Path) -> None:
    if text.startswith("pools:"):
        (tmp_path / "elastic.yaml").write_text(text)
        assert read_rules(tmp_path / "elastic.yaml").pools
        return
    assert text.startswith("workflow:"), "an example is a whole workflow"
    assert read_workflow(text).task_names


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_file_is_accepted(path: Path) -> None:
    assert read_rules(path).pools if path.name == "elastic.yaml" else read_workflow(path).task_names


@pytest.mark.parametrize("text", _examples("python"))
def test_every_program_of_the_documentation_is_python(text: str) -> None:
    compile(text, "example", "exec")


def test_the_workflow_built_in_python_is_accepted() -> None:
    (text,) = [text for said, text in _BLOCK.findall((DOCS / "workflows.md").read_text()) if said == "python"]
    found: dict[str, object] = {}
    exec(text, found)
    built = found["wf"]
    assert isinstance(built, Workflow)
    assert read_workflow(built.to_yaml()).task_names == ("python", "table", "plot", "thumbnail")


@pytest.mark.parametrize("part", [language, settings, states], ids=lambda part: part.__name__)
def test_the_drawn_parts_are_up_to_date(part: object) -> None:
    page = (DOCS / part.PAGE).read_text()  # type: ignore[attr-defined]
    assert part.page(page) == page, "run scripts/draw-language, scripts/draw-settings and scripts/draw-states"  # type: ignore[attr-defined]


def test_the_amqp_contract_is_up_to_date() -> None:
    assert messages.page("") == (DOCS / messages.FILE).read_text(), "run scripts/draw-messages"


def test_the_amqp_contract_describes_every_kind_and_refers_to_what_it_has() -> None:
    contract = yaml.safe_load((DOCS / messages.FILE).read_text())
    assert {message["name"] for message in contract["components"]["messages"].values()} == set(KINDS)
    for reference in re.findall(r"\$ref: '?#/([^'\n]+)", (DOCS / messages.FILE).read_text()):
        found = contract
        for step in reference.split("/"):
            found = found[step]


def test_the_amqp_example_of_the_documentation_is_the_one_that_is_tested() -> None:
    assert (ROOT / "examples/submit_by_amqp.py").read_text() in (DOCS / "amqp.md").read_text()


def test_every_state_and_every_setting_is_explained() -> None:
    explained = (DOCS / "states.md").read_text()
    assert [state for state in State if f"| `{state}` |" not in explained] == []
    assert settings.documented().keys() == Settings.model_fields.keys()


def test_every_field_and_filter_of_the_language_is_named() -> None:
    page = (DOCS / "workflows.md").read_text()
    schema = json_schema()
    named = set(schema["properties"]) | set(filters.FILTERS)
    for definition in schema["$defs"].values():
        named |= set(definition.get("properties", ()))
    assert sorted(name for name in named if not re.search(rf"`{name}\b|\b{name}:|{{{name}:", page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def test_every_script_has_its_line() -> None:
    listed = (ROOT / "scripts/README.md").read_text()
    programs = [path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix == ""]
    assert sorted(name for name in programs if f"`{name}`" not in listed) == []


def test_every_decision_fits_on_a_page_and_is_listed() -> None:
    index = (DOCS / "decisions/README.md").read_text()
    for note in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        assert note.name in index
        assert len(note.read_text().splitlines()) <= 40, note.name
