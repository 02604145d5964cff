"""Gossip: whether there is an agent beside us that lets us in, and its pool is encrypted and well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from warrener.errors import GossipUnavailable, InvalidSettings
from warrener.gossip import Member, Status
from warrener.gossips import open_gossip
from warrener.gossips.agent import serf_program
from warrener.gossips.agent_plan import plan_of
from warrener.gossips.serf import SerfGossip
from warrener.settings import Settings
from warrener.tags import ASKS

from .findings import Finding, fault, unused, warning, well

_ABOUT = "gossip"
_SHOWN = 5


async def look(settings: Settings) -> list[Finding]:
    """Look at the agent of the settings."""
    if settings.agent or settings.join:
        return await _look_at_own(settings)
    return await _look_by(settings.gossip)


async def _look_at_own(settings: Settings) -> list[Finding]:
    """Look at what an agent within a program needs, and at the one that runs in the folder of the settings."""
    try:
        serf_program()
        plan = await plan_of(settings)
    except InvalidSettings as error:
        return [fault(_ABOUT, str(error), "a program with these settings does not start")]
    if not (plan.folder / "name").exists():
        return [warning(_ABOUT, f"no program has run its agent in {plan.folder} yet", "start one with these settings")]
    return await _look_by(f"agent://{plan.folder}")


async def _look_by(url: str) -> list[Finding]:
    try:
        gossip = open_gossip(url)
    except InvalidSettings as error:
        return [fault(_ABOUT, str(error), "correct WARRENER_GOSSIP")]
    if not isinstance(gossip, SerfGossip):
        await gossip.close()
        return [
            unused(
                _ABOUT,
                "no WARRENER_GOSSIP or WARRENER_AGENT is set: a dead host is known by its silence, after 35 s",
            )
        ]
    try:
        return list(judge(await gossip.members(), await gossip.stats()))
    except GossipUnavailable as error:
        return [fault(_ABOUT, str(error), "start an agent beside this program, or correct WARRENER_GOSSIP")]
    finally:
        await gossip.close()


def judge(members: Sequence[Member], stats: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Say what there is to say of an agent that lets us in."""
    here = [member for member in members if member.status is Status.ALIVE]
    failed = [member.name for member in members if member.status is Status.FAILED and ASKS not in member.tags]
    own = stats.get("agent", {}).get("name", "an agent")
    serf = stats.get("serf", {})
    yield well(_ABOUT, f"the Serf agent {own} sees {len(here)} of {len(members)} members alive")
    if len(here) < 2:  # noqa: PLR2004 - itself alone
        yield warning(
            _ABOUT,
            f"{own} is alone in its pool",
            "let it join another member: is the seed's address right, and its key?",
        )
    if serf.get("encrypted") == "false":
        yield warning(
            _ABOUT, "the pool is not encrypted: whoever reaches its port can join and speak for others",
            "give every agent the same encrypt_key (`serf keygen`)",
        )  # fmt: skip
    if failed:
        shown = ", ".join(failed[:_SHOWN]) + (f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else "")
        yield warning(
            _ABOUT, f"thought dead: {shown}", "look at those hosts; `serf force-leave NAME` forgets one for good"
        )
    if serf.get("health_score", "0") not in ("", "0"):
        yield warning(
            _ABOUT, f"{own} is slow to answer the others (health score {serf['health_score']})",
            "its host is overloaded, or packets get lost: 7946 must be open for TCP and UDP",
        )  # fmt: skip
