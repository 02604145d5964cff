"""What an agent of Warrener's own is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack

from warrener.gossips.agent_plan import AgentPlan, configuration, plan_of, plan_to_ask
from warrener.gossips.static import MAX_TAGS_BYTES
from warrener.settings import Settings
from warrener.signing import make_keys
from warrener.tags import ASKS, site_of


def settings_in(folder: Path, **more: Any) -> Settings:
    make_keys(folder / "keys")
    return Settings(state=folder, agent="127.0.0.1:7946", host="hare", **more)


def tags_of(plan: AgentPlan) -> dict[str, str]:
    told = configuration(plan, "hare-1", rpc_port=1, rpc_auth="x", snapshot=plan.folder / "snapshot")["tags"]
    assert isinstance(told, dict)
    return told


async def test_an_agent_tells_its_site_to_the_pool(tmp_path: Path) -> None:
    told = tags_of(await plan_of(settings_in(tmp_path, site="lab")))
    assert site_of(told) == "lab"


async def test_an_agent_that_lives_only_to_ask_says_so(tmp_path: Path) -> None:
    assert tags_of(await plan_to_ask(settings_in(tmp_path), "127.0.0.1:7946", tmp_path)) == {ASKS: "1"}


async def test_the_longest_site_leaves_most_of_the_room_for_tags_to_workers(tmp_path: Path) -> None:
    told = tags_of(await plan_of(settings_in(tmp_path, site="s" * 64)))
    assert len(msgpack.packb(told)) < MAX_TAGS_BYTES / 5
