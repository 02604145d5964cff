"""The names of workers that are processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from warrener.ids import is_name
from warrener_services.elastic.drivers.processes import ProcessDriver


def name_on(host: str) -> str:
    driver = ProcessDriver("jobs", ["true"], Path("/nowhere"), host=host, environment={}, patience_s=1)
    return driver._name(1)


def test_hosts_whose_names_begin_alike_have_workers_of_other_names() -> None:
    assert name_on("rack-17-of-the-institute-node-1") != name_on("rack-17-of-the-institute-node-2")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("node-1", "jobs-node-1-1"),
        ("Node_1.Example.org", "jobs-node-1-example-org-1"),
        ("-", "jobs-host-1"),
        ("rack-17-node-204-chassis-3", "jobs-rack-17-node-204-9a15a0-1"),
    ],
)
def test_a_name_of_a_worker_is_plain_and_short(host: str, name: str) -> None:
    assert name_on(host) == name
    assert is_name(name)
