"""`warrener alerts`: what admins are told, who takes care of it, and whether mails arrive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from warrener.client import Client
    from warrener.views import AlertDetail, AlertView, LetterView

_EPILOG = """\
[bold]Examples[/bold]
  warrener alerts list --open
  warrener alerts list --severity critical --site lab
  warrener alerts show 7
  warrener alerts ack 7 "the disk is ordered"
  warrener alerts test          # does the mail arrive?

Who is told of what: WARRENER_MAIL_TO, WARRENER_WEBHOOK and WARRENER_ALERT_ROUTES of the gossip program.
"""
_PATIENCE_S = 60.0
_UNSORTED_S = 10.0
_LOOK_EVERY_S = 0.3

TheNumber = Annotated[int, typer.Argument(metavar="NUMBER", help="As `warrener alerts list` shows it.", min=1)]

alerts = typer.Typer(
    help="See what was alerted, acknowledge it, and test the mails.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(alerts, name="alerts", rich_help_panel="Programs")


@alerts.command("list")
def list_alerts(
    *,
    open_only: Annotated[bool, typer.Option("--open", help="Only what is neither over nor acknowledged.")] = False,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind, as task-failed; repeat.")] = None,
    severity: Annotated[
        list[str] | None, typer.Option("--severity", help="Only critical, error, warning or info; repeat.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Only of this site.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner's runs.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List alerts, newest first."""
    from warrener.client import Client

    from .screen import ago, say, show_table, state_text

    with Client() as client:
        found = client.alerts(
            open_only=open_only, kind=kind or (), severity=severity or (), site=site, owner=owner, limit=limit
        )
    if as_json:
        say("[" + ",\n ".join(alert.model_dump_json() for alert in found) + "]")
    elif not found:
        say("No alert is open." if open_only else "There is no such alert.")
    else:
        show_table(
            ("NUMBER", "SEVERITY", "KIND", "ABOUT", "SINCE", "STATE", "WHAT"),
            [
                (str(one.id), state_text(one.severity), one.kind, one.subject, ago(one.at), _state(one), one.text)
                for one in found
            ],
            right=("NUMBER",),
        )


def _state(alert: AlertView) -> str:
    again = f" ({alert.repeats + 1} times)" if alert.repeats else ""
    if alert.over_at is not None:
        return f"over{again}"
    if alert.acked_at is not None:
        return f"acknowledged by {alert.acked_by}{again}"
    return f"open{again}"


@alerts.command()
def show(number: TheNumber, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show an alert in full."""
    from warrener.client import Client

    from .screen import ago, one_line, say

    with Client() as client:
        alert = client.alert(number)
    if as_json:
        say(alert.model_dump_json(indent=2))
        return
    facts = [
        ("alert", f"{alert.id}, {alert.kind}, {alert.severity}"),
        ("about", alert.subject),
        ("what", alert.text),
        ("since", f"{alert.at:%Y-%m-%d %H:%M:%S} UTC ({ago(alert.at)})"),
        ("again", f"raised {alert.repeats} times more" if alert.repeats else ""),
        ("over", f"{ago(alert.over_at)}: {alert.over_text}" if alert.over_at else ""),
        ("acknowledged", f"by {alert.acked_by}, {ago(alert.acked_at)}: {alert.note}" if alert.acked_at else ""),
        ("site", alert.site),
        ("owner", alert.owner),
        ("cause", alert.cause),
        ("look", alert.look),
    ]
    for name, value in facts:
        if value:
            say(f"{name:<13} {one_line(value, 1000)}")
    for letter in alert.letters:
        say(f"{'letter':<13} {one_line(_letter(letter), 1000)}")
    if alert.excerpt:
        say(f"\n{alert.excerpt}")


@alerts.command()
def ack(
    number: TheNumber,
    note: Annotated[str, typer.Argument(help="What is done about it.")] = "",
    *,
    by: Annotated[str | None, typer.Option("--as", help="Who takes care of it; default: you.")] = None,
) -> None:
    """Acknowledge an alert: somebody takes care of it."""
    from warrener.asking import default_owner
    from warrener.client import Client

    from .screen import say

    with Client() as client:
        alert = client.ack_alert(number, by=by or default_owner(), note=note)
    say(f"Alert {alert.id} is acknowledged by {alert.acked_by}; its end is told all the same.")


@alerts.command()
def test() -> None:
    """Send a test alert to everybody, and say how it went."""
    from warrener.client import Client

    from .screen import say, say_aside

    with Client() as client:
        alert = _followed(client, client.test_alert())
    if not alert.sorted:
        say_aside(
            "No alert desk has taken it: a desk is part of the gossip program, if that has a database"
            " (WARRENER_STORE). The alert waits there."
        )
    elif not alert.letters:
        say_aside("Nobody is told of alerts: WARRENER_MAIL_TO is not set where the gossip program runs.")
    for letter in alert.letters:
        say(_letter(letter))
    if not alert.letters or any(not letter.outcome.startswith("sent") for letter in alert.letters):
        raise typer.Exit(1)


def _followed(client: Client, alert: AlertDetail) -> AlertDetail:
    """Look at a test until all of its letters have ended, or nobody takes it."""
    begun_s = time.monotonic()
    while True:
        waited_s = time.monotonic() - begun_s
        ended = alert.sorted and all(letter.ended_at is not None for letter in alert.letters)
        if ended or waited_s > (_PATIENCE_S if alert.sorted else _UNSORTED_S):
            return alert
        time.sleep(_LOOK_EVERY_S)
        alert = client.alert(alert.id)


def _letter(letter: LetterView) -> str:
    channel, _, to = letter.destination.partition(":")
    where = f"webhook {to}" if channel == "webhook" else to
    return f"{where}: {letter.outcome or 'not tried yet'}"
