"""`warrener doctor` itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from warrener.settings import Settings

from .findings import Finding, Health, fault

_EPILOG = """\
[bold]Examples[/bold]
  warrener doctor
  warrener doctor --json | jq 'select(.health == "fault")'

Run it on the host and in the environment of the program that does not work. It changes nothing. The exit code is 1 when
something is at fault; warnings do not count.
"""
_LIMIT_S = 30.0
_SIGNS = {
    Health.WELL: ("✓", "green"),
    Health.WARNING: ("!", "yellow"),
    Health.FAULT: ("✗", "bold red"),
    Health.UNUSED: ("–", "dim"),
}

Look = Callable[[Settings], Awaitable[list[Finding]]]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG, rich_help_panel="Programs")(doctor)


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON each.")] = False) -> None:
    """Look at everything that a program needs, and say what is wrong and what to do."""
    settings = Settings.read()
    show = _print_json if as_json else _print_text
    findings = asyncio.run(_examine(settings, show))
    faults = sum(finding.health is Health.FAULT for finding in findings)
    if not as_json:
        _print_sum(findings)
    raise typer.Exit(1 if faults else 0)


def _looks() -> Sequence[tuple[str, Look]]:
    """Return what to look at, in the order of showing: what others rest on comes first."""
    from . import broker, gateway, gossip, host, mail, store

    return [
        ("host", host.look),
        ("broker", broker.look),
        ("store", store.look),
        ("gossip", gossip.look),
        ("mail", mail.look),
        ("gateway", gateway.look),
    ]


async def _examine(settings: Settings, show: Callable[[Finding], None]) -> list[Finding]:
    findings = []
    async for finding in _found(settings):
        show(finding)
        findings.append(finding)
    return findings


async def _found(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything at once; yield in order, each as soon as it is there."""
    async with asyncio.TaskGroup() as group:
        looking = [group.create_task(_within_limit(name, look, settings)) for name, look in _looks()]
        for one in looking:
            for finding in await one:
                yield finding


async def _within_limit(name: str, look: Look, settings: Settings) -> list[Finding]:
    try:
        async with asyncio.timeout(_LIMIT_S):
            return await look(settings)
    except TimeoutError:
        return [fault(name, f"no answer within {_LIMIT_S:g} s", "it is there, and hangs: look at its log and its load")]


def _print_json(finding: Finding) -> None:
    from ..screen import say  # noqa: TID252 - the CLI's own screen

    say(json.dumps(asdict(finding)))


def _print_text(finding: Finding) -> None:
    from rich.text import Text

    from ..screen import clean, console  # noqa: TID252

    sign, style = _SIGNS[finding.health]
    out = console()
    line = Text(f"{sign} ", style=style)
    line.append(f"{finding.about:<16}", style="bold")
    line.append(clean(finding.says), style="dim" if finding.health is Health.UNUSED else "")
    out.print(line)
    if finding.do:
        out.print(Text(f"  {'':<16}→ {clean(finding.do)}", style=style))


def _print_sum(findings: Sequence[Finding]) -> None:
    from ..screen import say  # noqa: TID252

    faults = sum(finding.health is Health.FAULT for finding in findings)
    warnings = sum(finding.health is Health.WARNING for finding in findings)
    say()
    if not faults and not warnings:
        say("Everything that was looked at is well.")
    else:
        say(f"{faults} at fault, {warnings} to look at.")
