"""`warrener find`: where a deployment is, as gossip tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from warrener.gossips.naming import Found
    from warrener.settings import Settings

_EXAMPLES = """\
[bold]Examples[/bold]
  warrener find meadow:7946      # any member's address; needs orders.pub and gossip.key of WARRENER_KEYS
  warrener find                  # through the agent of WARRENER_GOSSIP

Addresses come without users and passwords. A program started with WARRENER_JOIN=meadow:7946 asks the same.
"""
_PATIENCE_S = 20.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES, rich_help_panel="Programs")(find)


def find(
    member: Annotated[str | None, typer.Argument(metavar="HOST:PORT", help="A member of the gossip pool.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask gossip where broker, store and gateway of a deployment are."""
    import asyncio

    from warrener.errors import Unavailable
    from warrener.runtime.logs import configure_logs
    from warrener.settings import Settings

    from .screen import say

    configure_logs("warning")
    try:
        found = asyncio.run(_ask(Settings.read(), member))
    except TimeoutError:
        raise Unavailable(
            f"nobody said where the deployment is within {_PATIENCE_S:g} s: is that member up, and does a"
            " `warrener serve gossip` with orders.key run in its pool?"
        ) from None
    if as_json:
        say(found.model_dump_json(exclude={"kind"}))
        return
    for name, value in (
        ("broker", found.broker), ("store", found.store), ("gateway", found.gateway), ("seeds", ", ".join(found.seeds)),
    ):  # fmt: skip
        say(f"{name:<8} {value or '(not told)'}")


async def _ask(settings: Settings, member: str | None) -> Found:
    import asyncio
    import tempfile
    from contextlib import AsyncExitStack
    from pathlib import Path

    from warrener.gossips import open_gossip
    from warrener.gossips.agent import running_agent
    from warrener.gossips.agent_plan import plan_to_ask
    from warrener.gossips.naming import find as found_in
    from warrener.signing import read_verifier

    verifier = read_verifier(settings.keys_folder)
    async with AsyncExitStack() as stack, asyncio.timeout(_PATIENCE_S):
        url = settings.gossip
        if member is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warrener-find-")))
            agent = await stack.enter_async_context(running_agent(await plan_to_ask(settings, member, folder)))
            url = agent.url
        gossip = open_gossip(url)
        stack.push_async_callback(gossip.close)
        return await found_in(gossip, verifier)
