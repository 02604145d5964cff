"""Alerts: list them, look at one, acknowledge it, send a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from warrener.alerts import Alert, AlertKind, Severity
from warrener.errors import Conflict, NotFound
from warrener.ids import new_token
from warrener.letters import AlertFilter, AlertRow, Letter
from warrener.store import Changes, Transaction
from warrener.views import LIMIT, AckAsked, AlertDetail, AlertView, Asked, LetterView

from .given import TheGateway

router = APIRouter(prefix="/alerts", tags=["alerts"])

TheNumber = Annotated[int, Path(ge=1, le=2**62, description="The number of an alert.")]


class AlertsAsked(Asked):
    """Which alerts to list."""

    open: bool = Field(default=False, description="Only those that are neither over nor acknowledged.")
    kind: list[AlertKind] = Field(default=[], description="Only of one of these kinds.")
    severity: list[Severity] = Field(default=[], description="Only of one of these severities.")
    site: str | None = Field(default=None, description="Only of this site.")
    owner: str | None = Field(default=None, description="Only of this owner's runs.")
    before: int | None = Field(default=None, ge=1, description="Only those before this number.")
    limit: int = Field(default=50, ge=1, le=LIMIT)


@router.get("", summary="List alerts, newest first")
async def alerts(asked: Annotated[AlertsAsked, Query()], gateway: TheGateway) -> list[AlertView]:
    """List what was alerted, also what is over or acknowledged."""
    which = AlertFilter(
        open=asked.open, kinds=tuple(asked.kind), severities=tuple(asked.severity), site=asked.site, owner=asked.owner,
        before=asked.before, limit=asked.limit,
    )  # fmt: skip
    return [alert_view(row) for row in await gateway.read(lambda tx: tx.alerts.list(which))]


@router.post("/test", status_code=202, summary="Send a test alert through the whole way")
async def test(gateway: TheGateway) -> AlertDetail:
    """Answer once it is committed. Look at it until each of its letters has ended: `outcome` says how it went."""
    name, now = new_token(gateway.rng), gateway.clock.now()
    alert = Alert(
        AlertKind.TEST, name, "This is a test of the alerts, asked for by `warrener alerts test`.",
        cause="Somebody wanted to know whether alerts arrive.", look="warrener alerts list",
    )  # fmt: skip

    def write(tx: Transaction) -> AlertDetail:
        tx.write(Changes(alerts=[(alert, now)]))
        (row,) = tx.alerts.list(AlertFilter(subject=name))
        return _detail(row, [])

    return await gateway.write(write)


@router.get("/{number}", summary="Look at an alert")
async def show(number: TheNumber, gateway: TheGateway) -> AlertDetail:
    """Return it with the end of what was printed; a test also with what became of its letters."""

    def look(tx: Transaction) -> AlertDetail:
        row = _one(tx, number)
        is_test = row.alert.kind == AlertKind.TEST
        return _detail(row, tx.letters.of_fold(f"test:{row.alert.subject}") if is_test else [])

    return await gateway.read(look)


@router.post("/{number}/ack", summary="Acknowledge an alert, with a note")
async def ack(number: TheNumber, asked: AckAsked, gateway: TheGateway) -> AlertView:
    """Say that somebody takes care of it. It stays until it is over."""
    now = gateway.clock.now()

    def write(tx: Transaction) -> AlertView:
        row = _one(tx, number)
        if row.acked_at is not None:
            raise Conflict(f"alert {number} was acknowledged by {row.acked_by} already: {row.note or 'without a note'}")
        tx.alerts.ack(number, asked.by, asked.note, now)
        return alert_view(_one(tx, number))

    return await gateway.write(write)


def _one(tx: Transaction, number: int) -> AlertRow:
    rows = tx.alerts.load([number])
    if not rows or rows[0].alert.over:
        raise NotFound(f"there is no alert {number}; `warrener alerts list` lists them")
    return rows[0]


def alert_view(row: AlertRow) -> AlertView:
    """Show an alert as lists have it."""
    return AlertView(**_fields(row))


def _detail(row: AlertRow, letters: Sequence[Letter]) -> AlertDetail:
    shown = [
        LetterView(destination=one.destination, tries=one.tries, ended_at=one.ended_at, outcome=one.outcome or "")
        for one in letters
    ]
    return AlertDetail(**_fields(row), excerpt=row.alert.excerpt, letters=shown)


def _fields(row: AlertRow) -> dict[str, Any]:
    alert = row.alert
    return {
        "id": row.id, "kind": alert.kind, "subject": alert.subject, "severity": alert.urgency, "site": alert.site,
        "owner": alert.owner, "text": alert.text, "cause": alert.cause, "look": alert.look, "at": row.at,
        "sorted": row.sorted_at is not None, "repeats": row.repeats, "over_at": row.over_at,
        "over_text": row.over_text or "", "acked_at": row.acked_at, "acked_by": row.acked_by or "",
        "note": row.note or "",
    }  # fmt: skip
