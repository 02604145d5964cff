"""The program `agent`: wiring only."""

from __future__ import annotations

import asyncio
import sys

import structlog

from warrener.gossips.agent_plan import PORT
from warrener.runtime.serve import serve_program
from warrener.settings import Settings

log = structlog.get_logger("warrener.agent")


async def run(settings: Settings) -> None:
    """Say where the agent is, which runs around this, and wait until cancelled."""
    log.info("other programs of this host and user find the agent", WARRENER_GOSSIP=settings.gossip)
    await asyncio.get_running_loop().create_future()


def prepared(settings: Settings) -> Settings:
    """Have the agent gossip on every address unless told where; what WARRENER_GOSSIP says is for other programs."""
    nothing = Settings.model_fields["gossip"].default
    return settings.model_copy(update={"gossip": nothing, "agent": settings.agent or f"0.0.0.0:{PORT}"})


if __name__ == "__main__":
    sys.exit(serve_program(run, name="agent", prepared=prepared))
