"""Looking at everything at once, and showing what was found in order.

Each look has a daemon thread and an event loop of its own: a dead file system never lets go of whoever touches it, and
must keep neither the other looks nor the end of the doctor waiting.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from threading import Thread
from typing import Any, TypeVar

from rich.text import Text

from warrener.alerts import clean, one_line, redacted
from warrener.errors import WarrenerError
from warrener.settings import Settings
from warrener_services.cli.screen import console, say

from . import broker, gateway, gossip, host, mail, naming, store
from .findings import Finding, Health, Look, fault

_LIMIT_S = 30.0
_SAID = 300
_HANGS = "it is there, and hangs: look at its log and its load, or at where its file system is mounted from"
_SIGNS = {
    Health.WELL: ("✓", "green"),
    Health.WARNING: ("!", "yellow"),
    Health.FAULT: ("✗", "bold red"),
    Health.UNUSED: ("–", "dim"),
}

T = TypeVar("T")

_LOOKS: Sequence[tuple[str, Look]] = (
    *host.LOOKS,  # what others rest on comes first
    ("broker", broker.look),
    ("store", store.look),
    ("gossip", gossip.look),
    ("mail", mail.look),
    ("gateway", gateway.look),
)


def examine(*, as_json: bool) -> bool:
    """Look, and show what was found; tell whether something is at fault. Raises InvalidSettings."""
    findings = asyncio.run(_examine(Settings.read(), _print_json if as_json else _print_text))
    if not as_json:
        _print_sum(findings)
    return any(finding.health is Health.FAULT for finding in findings)


async def _examine(settings: Settings, show: Callable[[Finding], None]) -> list[Finding]:
    findings = []
    async for finding in _found(settings):
        show(finding)
        findings.append(finding)
    return findings


async def _found(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything at once; yield in order, each as soon as it is there."""
    settings, named = await _named(settings)
    for finding in named:
        yield finding
    async with asyncio.TaskGroup() as group:
        looking = [group.create_task(_looked(name, look, settings)) for name, look in _LOOKS]
        for one in looking:
            for finding in await one:
                yield finding


async def _named(settings: Settings) -> tuple[Settings, list[Finding]]:
    """Find what is to be looked at, where gossip tells."""
    try:
        return await _within_limit(naming.found, settings)
    except Exception as error:  # noqa: BLE001 - what is set is looked at all the same
        return settings, [_stumbled("deployment", error)]


async def _looked(name: str, look: Look, settings: Settings) -> list[Finding]:
    try:
        return await _within_limit(look, settings)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one thing, the others are looked at
        return [_stumbled(name, error)]


async def _within_limit(look: Callable[[Settings], Coroutine[Any, Any, T]], settings: Settings) -> T:
    async with asyncio.timeout(_LIMIT_S):
        return await asyncio.wrap_future(_in_thread(look, settings))


def _in_thread(look: Callable[[Settings], Coroutine[Any, Any, T]], settings: Settings) -> Future[T]:
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(asyncio.run(look(settings)))
        except BaseException as error:  # noqa: BLE001 - whoever waits for it has it
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done


def _stumbled(name: str, error: Exception) -> Finding:
    match error:
        case TimeoutError():
            return fault(name, f"no answer within {_LIMIT_S:g} s", _HANGS)
        case WarrenerError() | OSError():
            return fault(name, str(error), "mend this, then run the doctor again")
    told = one_line(redacted(f"{type(error).__name__}: {error}"), _SAID)
    return fault(name, f"the doctor stumbled: {told}", "please report it; what else it says holds all the same")


def _print_json(finding: Finding) -> None:
    say(json.dumps(asdict(finding)))


def _print_text(finding: Finding) -> None:
    sign, style = _SIGNS[finding.health]
    out = console()
    line = Text(f"{sign} ", style=style)
    line.append(f"{finding.about:<16}", style="bold")
    line.append(clean(finding.says), style="dim" if finding.health is Health.UNUSED else "")
    out.print(line)
    if finding.do:
        out.print(Text(f"  {'':<16}→ {clean(finding.do)}", style=style))


def _print_sum(findings: Sequence[Finding]) -> None:
    faults = sum(finding.health is Health.FAULT for finding in findings)
    warnings = sum(finding.health is Health.WARNING for finding in findings)
    say()
    if not faults and not warnings:
        say("Everything that was looked at is well.")
    else:
        say(f"{faults} at fault, {warnings} to look at.")
