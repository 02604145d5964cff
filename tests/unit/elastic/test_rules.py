"""The file of rules: every problem at once, with its line and the nearest known word."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from warrener.errors import InvalidSettings
from warrener_services.elastic.rules import Processes, Rules, read_rules

GOOD = """\
every: 500ms
pools:
  jobs:
    serves: job
    maximum: 4
    slots: 2
    drain_within: 1m
    processes:
  images:
    serves: [call.images, call.text]
    site: east
    minimum: 1
    maximum: 3
    wait_at_most: 10s
    compose: {service: images, folder: /srv}
"""


def read(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "elastic.yaml"
    path.write_text(text)
    return read_rules(path)


def test_rules_are_read(tmp_path: Path) -> None:
    rules = read(tmp_path, GOOD)
    assert rules.every == timedelta(seconds=0.5)
    jobs, images = rules.pools["jobs"], rules.pools["images"]
    assert (jobs.serves, jobs.processes) == (("job",), Processes())
    assert images.serves == ("call.images", "call.text")
    rule = images.rule(8)
    assert (rule.minimum, rule.slots, rule.drain_within_s, rule.wait_at_most_s) == (1, 8, 30, 10)


def test_the_example_is_right() -> None:
    assert read_rules(Path(__file__).parents[3] / "examples" / "elastic.yaml").pools


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("maximum: 4", "maximun: 4", "elastic.yaml:3: pools.jobs: the field 'maximum' is missing"),
        ("maximum: 4", "maximun: 4", "unknown field 'maximun'; did you mean 'maximum'?"),
        ("folder: /srv", "foldr: /srv", "pools.images.compose.foldr: unknown field 'foldr'; did you mean 'folder'?"),
        ("every: 500ms", "evry: 500ms", "unknown field 'evry'; did you mean 'every'?"),
        ("serves: job", "serves: jobs", "serves: there is no lane 'jobs'; write env, stage, job, or call.APP"),
        ("serves: job", "serves: [job, job]", "serves: job is there twice; write it once"),
        ("    processes:\n", "", "a pool has one of processes, compose and command to start its workers; it has none"),
        ("processes:", "processes: {}\n    command: {argv: [x], count: [y]}", "it has processes and command"),
        ("processes:", "command: {argv: [x]}", "pools.jobs.command: count is missing: name a command that prints how"),
        ("minimum: 1", "minimum: 9", "minimum 9 is more than maximum 3; swap them"),
        ("drain_within: 1m", "drain_within: soon", "'soon' is not a duration"),
        ("serves: job", "serves: call.x", "a pool that serves calls needs argv"),
        ("  images:", "  Images:", "a pool's name has 1 to 24 of a-z"),
        (
            "serves: [call.images, call.text]\n    site: east", "serves: job",
            "elastic.yaml:10: pools.images.serves: the pool jobs serves job at the same site already",
        ),
        ("pools:", "pools", "is a colon or its space missing"),
        (GOOD, "", "a file of rules is a mapping with pools:"),
        (GOOD, "pools: {}", "pools: must not be empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert says in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"nowhere\.yaml: cannot be read: No such file"):
        read_rules(tmp_path / "nowhere.yaml")
