"""What the processes of a pool find in their environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from warrener.settings import Settings
from warrener_services.elastic.drivers.surroundings import surroundings
from warrener_services.elastic.rules import Pool, Processes


def made(inherited: dict[str, str], *, environment: dict[str, str] | None = None, **settings: Any) -> dict[str, str]:
    pool = Pool(serves=("job",), site="east", slots=3, maximum=3, processes=Processes(environment=environment or {}))
    return surroundings(inherited, Settings(state=Path("/nowhere"), **settings), pool)


RULED = {"WARRENER_SLOTS": "3", "WARRENER_SITE": "east"}


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_what_is_of_the_program_itself_is_not_passed_on(suffix: str) -> None:
    own = ("AGENT", "AGENT_ADVERTISE", "SEEDS", "JOIN", "HEALTH", "WORKER")
    inherited = {"PATH": "/bin", "WARRENER_KEYS": "/keys", **{f"WARRENER_{name}{suffix}": "x" for name in own}}
    assert made(inherited) == {"PATH": "/bin", "WARRENER_KEYS": "/keys", **RULED}


def test_a_setting_takes_the_place_of_the_same_one_in_a_file() -> None:
    inherited = {"WARRENER_SITE_FILE": "/site", "WARRENER_SLOTS_FILE": "/slots", "WARRENER_LOG": "info", "A_FILE": "a"}
    assert made(inherited, environment={"WARRENER_LOG_FILE": "/log", "A": "b"}) == {
        **RULED, "WARRENER_LOG_FILE": "/log", "A_FILE": "a", "A": "b",
    }  # fmt: skip


def test_the_agent_of_elastic_is_theirs() -> None:
    inherited = {"WARRENER_GOSSIP_FILE": "/gossip", "WARRENER_AGENT": "10.0.0.1"}
    assert made(inherited, agent="10.0.0.1", gossip="agent:///a") == {**RULED, "WARRENER_GOSSIP": "agent:///a"}
    assert made({"WARRENER_GOSSIP_FILE": "/gossip"}) == {**RULED, "WARRENER_GOSSIP_FILE": "/gossip"}


def test_what_gossip_found_is_passed_on_where_nothing_else_is_set() -> None:
    found = {"join": "10.0.0.1", "gossip": "agent:///a", "broker": "amqp://u:p@one", "gateway": "http://one:1"}
    assert made({"WARRENER_JOIN": "10.0.0.1", "WARRENER_GATEWAY_FILE": "/gateway"}, **found) == {
        **RULED, "WARRENER_GOSSIP": "agent:///a", "WARRENER_BROKER": "amqp://u:p@one",
        "WARRENER_GATEWAY_FILE": "/gateway",
    }  # fmt: skip


def test_the_rule_has_the_last_word() -> None:
    assert made({}, environment={"WARRENER_AGENT": "10.0.0.9", "WARRENER_SLOTS": "1"}) == {
        **RULED, "WARRENER_AGENT": "10.0.0.9", "WARRENER_SLOTS": "1",
    }  # fmt: skip
