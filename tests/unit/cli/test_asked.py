"""What people type becomes what is asked, or a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from warrener.errors import InvalidWorkflow, Refused
from warrener.workflows import Definition
from warrener_services.cli.asked import read_definition, read_params, split_task

DEFINITION = Definition.parse(
    {
        "workflow": "plots",
        "params": {"day": {"type": "string"}, "n": {"type": "integer"}, "sizes": [1], "deep": True},
        "tasks": {"plot": {"job": {"argv": ["plot"]}}},
    }
)


def test_a_task_is_named_behind_its_run() -> None:
    assert split_task("01h8xk2m/plot") == ("01h8xk2m", "plot")
    assert split_task("01h8xk2m") == ("01h8xk2m", None)


@pytest.mark.parametrize("text", ["/plot", "01h8xk2m/", "/"])
def test_half_a_name_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="RUN or RUN/TASK"):
        split_task(text)


def test_values_are_read_as_the_type_of_their_parameter_says() -> None:
    pairs = ["day=2026-11-21", "n=5", "sizes=[1, 2]", "deep=false"]
    assert read_params(DEFINITION, pairs, None) == {
        "day": "2026-11-21", "n": 5, "sizes": [1, 2], "deep": False,
    }  # fmt: skip
    assert read_params(DEFINITION, ["day=5"], None) == {"day": "5"}
    assert read_params(DEFINITION, ["day=a=b"], None) == {"day": "a=b"}


def test_what_is_typed_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("day: monday\nn: 1\n")
    assert read_params(DEFINITION, ["n=2"], file) == {"day": "monday", "n": 2}


def test_a_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(Refused, match="name=value"):
        read_params(DEFINITION, ["day"], None)


def test_a_file_of_parameters_must_be_there_and_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file"):
        read_params(DEFINITION, [], tmp_path / "nope.yaml")
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    with pytest.raises(Refused, match="mapping"):
        read_params(DEFINITION, [], listed)


def test_a_folder_is_no_workflow(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkflow, match="is a folder"):
        read_definition(str(tmp_path))
