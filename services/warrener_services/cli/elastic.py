"""`warrener elastic`: the pools of workers that start and stop by rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from warrener.views import PoolView

_EPILOG = """\
[bold]Examples[/bold]
  warrener elastic                       # what there is, what is wanted, and why
  warrener elastic check elastic.yaml    # look for mistakes in a file of rules
  WARRENER_ELASTIC=elastic.yaml warrener serve elastic
"""

elastic = typer.Typer(
    help="Look at the pools of workers that `warrener serve elastic` keeps.",
    epilog=_EPILOG,
    invoke_without_command=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(elastic, name="elastic", rich_help_panel="Programs")


@elastic.callback()
def status(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the pools: what there is, what is wanted, and why."""
    if context.invoked_subcommand is not None:
        return
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        pools = client.pools()
    if as_json:
        say("[" + ",\n ".join(pool.model_dump_json() for pool in pools) + "]")
    elif not pools:
        say("No pool was heard of. `warrener serve elastic` keeps those of the rules in WARRENER_ELASTIC.")
    else:
        _show(pools)


def _show(pools: list[PoolView]) -> None:
    from .screen import ago, say, show_table

    show_table(
        ("POOL", "SERVES", "SITE", "HOST", "RUNNING", "LEAVING", "WANTED", "BOUNDS", "HEARD"),
        [
            (
                pool.name, " ".join(pool.lanes), pool.site, pool.host, str(pool.running), str(pool.leaving),
                str(pool.wanted), f"{pool.minimum}-{pool.maximum}",
                f"silent, {ago(pool.heard_at)}" if pool.silent else ago(pool.heard_at),
            )
            for pool in pools
        ],
        right=("RUNNING", "LEAVING", "WANTED"),
    )  # fmt: skip
    for pool in pools:
        say(f"{pool.name}: {pool.why}.")
        if pool.action and pool.action_at is not None:
            say(f"  last: {pool.action} ({ago(pool.action_at)})")
        if pool.trouble:
            say(f"  trouble: {pool.trouble}")


@elastic.command()
def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The rules; default: WARRENER_ELASTIC.")] = None,
) -> None:
    """Check a file of rules; names every problem with its line."""
    from warrener.errors import Refused
    from warrener.settings import Settings
    from warrener_services.elastic.rules import read_rules

    from .screen import say

    path = file or Settings.read().elastic
    if path is None:
        raise Refused("name a FILE of rules, or set WARRENER_ELASTIC")
    rules = read_rules(path)
    say(f"{path} is right: {len(rules.pools)} pool{'' if len(rules.pools) == 1 else 's'}, {', '.join(rules.pools)}.")
