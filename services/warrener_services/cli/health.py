"""`warrener health`: how the programs of this host are, for people and for whoever restarts what is unwell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from warrener.runtime.health import Vitals

_TIMEOUT_S = 5.0

_EPILOG = """\
[bold]Examples[/bold]
  warrener health                            # every program below WARRENER_STATE, or that of WARRENER_HEALTH
  warrener health unix:/run/warrener/scheduler.sock
  warrener health http://127.0.0.1:9411 --live

The exit code is 0 when all are well, 1 when one is not, or does not answer.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG, rich_help_panel="Programs")(health)


def health(
    where: Annotated[
        str | None, typer.Argument(metavar="[WHERE]", help="Where a program tells: unix:/path or http://host:port.")
    ] = None,
    *,
    live: Annotated[bool, typer.Option("--live", help="Ask only whether it answers.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell how the programs of this host are; exit with 1 when one is unwell."""
    from .screen import say

    asked = [(place, _ask(place, live=live)) for place in _places(where)]
    if not asked:
        from warrener.errors import Unavailable
        from warrener.settings import Settings

        raise Unavailable(
            f"no program tells of its health below {Settings.read().health_folder}; start one, or say where it listens"
        )
    if as_json:
        say("[" + ",\n ".join(_as_json(place, found) for place, found in asked) + "]")
    else:
        _show(asked)
    if not all(_is_well(found) for _, found in asked):
        raise typer.Exit(1)


def _places(where: str | None) -> list[str]:
    """Return where to ask: as told, as the settings say, or at every usual socket."""
    from warrener.errors import Refused
    from warrener.settings import Settings

    settings = Settings.read()
    told = where or settings.health
    if told == "off":
        raise Refused("WARRENER_HEALTH is off: programs do not tell of their health")
    if told:
        if not told.startswith(("unix:", "http://", "https://")):
            raise Refused(f"{told!r} is no place to ask; give unix:/path or http://host:port")
        return [told]
    return [f"unix:{path}" for path in sorted(settings.health_folder.absolute().glob("*.sock"))]


def _ask(place: str, *, live: bool) -> Vitals | str:
    """Return what the program says, or why it does not (with `live`: nothing when it does)."""
    import httpx
    from pydantic import ValidationError

    from warrener.runtime.health import Vitals

    socket = place.removeprefix("unix:") if place.startswith("unix:") else None
    base = "http://warrener" if socket else place.rstrip("/")
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=_TIMEOUT_S) as client:
            answer = client.get(base + ("/live" if live else "/health"))
        if live and answer.status_code == httpx.codes.OK:
            return ""
        return Vitals.model_validate_json(answer.content)
    except (httpx.ConnectError, FileNotFoundError):
        return "nobody listens there: it was stopped or killed"
    except httpx.TimeoutException:
        return f"no answer within {_TIMEOUT_S:g} s"
    except (httpx.HTTPError, OSError) as error:
        return f"it cannot be asked: {error}"
    except ValidationError:
        return "something else than a program of Warrener answers there"


def _as_json(place: str, found: Vitals | str) -> str:
    import json

    if isinstance(found, str):
        return json.dumps({"where": place, "well": not found, "trouble": found})
    return found.model_dump_json()


def _is_well(found: Vitals | str) -> bool:
    return not found if isinstance(found, str) else found.well


def _show(asked: Sequence[tuple[str, Vitals | str]]) -> None:
    from .screen import show_table, state_text

    rows: list[tuple[str | Text, ...]] = []
    for place, found in asked:
        if isinstance(found, str):
            name = Path(place.removeprefix("unix:")).stem if place.startswith("unix:") else place
            rows.append((name, "", state_text("silent" if found else "up"), "", "", found))
        else:
            rows.append(_row(found))
    show_table(("NAME", "PROGRAM", "STATE", "UP", "PROBE", "WHAT IS WRONG"), rows, right=("UP", "PROBE"))


def _row(vitals: Vitals) -> tuple[str | Text, ...]:
    from .screen import now, span, state_text

    wrong = "; ".join(f"{name}: {part.trouble}" for name, part in vitals.parts.items() if part.trouble)
    state = state_text("well" if vitals.well else "unwell")
    probe = "" if vitals.probe_age_s is None else span(vitals.probe_age_s)
    up = span((now() - vitals.up_since).total_seconds())
    return vitals.name, vitals.program, state, up, probe, wrong
