"""`warrener archive`: finished runs that have left the store, read from the archive's files on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/bold]
  warrener archive list
  warrener archive show 1kz0c9x2m4n6p8q0 | jq 'select(.table == "tasks")'
  zcat archive/2026-11-21.*.jsonl.gz    # the same lines, without Warrener

Schedulers archive finished runs once WARRENER_KEEP_RUNS is set, each on its own host.
"""

Folder = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the files are; default: WARRENER_ARCHIVE, as schedulers.")
]

archive = typer.Typer(
    help="Look into the archive of finished runs.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(archive, name="archive", rich_help_panel="Programs")


@archive.command("list")
def list_archived(*, folder: Folder = None) -> None:
    """List archived runs, the oldest days first."""
    from warrener.archive import runs_in

    from .screen import say, show_table

    found = dict(runs_in(_folder(folder)))
    if not found:
        say(f"No run is archived in {_folder(folder)}.")
        return
    rows = [(run, row["workflow"], row["owner"], row["state"], row["finished_at"]) for run, row in found.items()]
    show_table(("RUN", "WORKFLOW", "OWNER", "STATE", "FINISHED"), rows)


@archive.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The whole id, as `warrener archive list` shows it.")],
    *,
    folder: Folder = None,
) -> None:
    """Print everything that the archive has of a run: a line of JSON for each row."""
    import json

    from warrener.archive import read_run
    from warrener.errors import Refused

    rows = read_run(_folder(folder), run)
    if not rows:
        raise Refused(f"there is no run {run} in {_folder(folder)}; `warrener archive list` shows those that are")
    for row in rows:
        typer.echo(json.dumps(row, ensure_ascii=False))


def _folder(given: Path | None) -> Path:
    from warrener.settings import Settings

    return given or Settings.read().archive_folder
