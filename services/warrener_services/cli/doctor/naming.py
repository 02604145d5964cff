"""Where the deployment is, if WARRENER_JOIN leaves that to gossip: asked through the agent of this host."""

from __future__ import annotations

import asyncio

from warrener.gossips.naming import found_by
from warrener.settings import Settings

from .findings import Finding, warning, well

_ABOUT = "deployment"
_PATIENCE_S = 6.0
"""Two questions, of 2 s each and with a pause between them."""


async def found(settings: Settings) -> tuple[Settings, list[Finding]]:
    """Return the settings with what gossip tells, or as they are. Raises InvalidSettings, as programs do."""
    if not settings.join:
        return settings, []
    if not (settings.agent_folder / "url").exists():
        return settings, [_untold(settings, f"no program runs its agent in {settings.agent_folder}")]
    beside = settings.model_copy(update={"gossip": f"agent://{settings.agent_folder}"})
    try:
        async with asyncio.timeout(_PATIENCE_S):
            given = await found_by(beside)
    except TimeoutError:
        return settings, [_untold(settings, f"nobody said so within {_PATIENCE_S:g} s")]
    told = [name for name in ("broker", "store", "gateway") if getattr(given, name) != getattr(settings, name)]
    return given, [well(_ABOUT, f"gossip told where to find: {', '.join(told) or 'nothing that is not set'}")]


def _untold(settings: Settings, why: str) -> Finding:
    return warning(
        _ABOUT,
        f"WARRENER_JOIN leaves it to gossip where broker, store and gateway are, and {why}: what is not set was not"
        " looked at",
        f"`warrener find {settings.join}` shows where they are",
    )
