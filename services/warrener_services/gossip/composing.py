"""What a letter says: as a mail in text and HTML, and as JSON for a webhook. Pure.

Every line of an alert is clean and bounded already (`warrener.alerts`); HTML is escaped here besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from typing import Any

from warrener.alerts import MAX_EXCERPT_BYTES, Severity, one_line, rule_of, shortened
from warrener.letters import AlertRow, Letter

from .folding import Content

_SUBJECT = 150
_COLOURS = {
    Severity.CRITICAL: "#b00020",
    Severity.ERROR: "#c2410c",
    Severity.WARNING: "#a16207",
    Severity.INFO: "#1d4ed8",
}
_OVER = "#15803d"
_POLICY = SMTP.clone(max_line_length=76)


@dataclass(frozen=True, slots=True)
class Told:
    """A letter with the alerts that it names: those that began, and those that ended without having begun in it."""

    letter: Letter
    content: Content
    rows: Sequence[AlertRow]

    @property
    def alone(self) -> AlertRow | None:
        """The one alert that it tells of, if it is one."""
        return self.rows[0] if len(self.rows) == 1 and self.content.began + self.content.ended <= 2 else None  # noqa: PLR2004 - began, and ended

    @property
    def unnamed(self) -> int:
        return max(0, self.content.began - len(self.content.raised)) + max(
            0, self.content.ended - len(self.content.over)
        )

    @property
    def severity(self) -> Severity:
        return min((row.alert.urgency for row in self.rows), key=lambda one: one.rank, default=Severity.INFO)


def named(content: Content) -> list[int]:
    """Return the numbers of the alerts that a letter names, each once."""
    return list(dict.fromkeys([*content.raised, *content.over]))


# ── the words ────────────────────────────────────────────────────────────────────────────────────────────────────


def headline(told: Told) -> str:
    """Say in one line what a letter is about."""
    row = told.alone
    if row is None:
        return ", ".join(_counts(told.content)) or "nothing"
    rule = rule_of(row.alert.kind)
    state = f" ({rule.over})" if row.over_at else ""
    site = f", site {row.alert.site}" if row.alert.site else ""
    return f"{rule.one[0].upper()}{rule.one[1:]}: {row.alert.subject}{state}{site}"


def _counts(content: Content) -> Iterator[str]:
    for kind, (began, ended) in sorted(content.counts.items(), key=lambda item: -sum(item[1])):
        rule = rule_of(kind)
        if began:
            over = f" ({ended:,} {rule.over})" if ended else ""
            yield f"{began:,} {rule.one if began == 1 else rule.many}{over}"
        elif ended:
            yield f"{ended:,} {rule.over} ({rule.one if ended == 1 else rule.many})"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _facts(row: AlertRow) -> list[tuple[str, str]]:
    alert = row.alert
    facts = [
        ("Since", _moment(row.at)),
        ("Over since", f"{_moment(row.over_at)}: {row.over_text}" if row.over_at else ""),
        ("Site", alert.site),
        ("Owner", alert.owner),
        ("Raised again", f"{row.repeats} times" if row.repeats else ""),
        ("Probable cause", "" if row.over_at else alert.cause),
        ("Look further", alert.look),
        ("Acknowledged", f"by {row.acked_by}: {row.note}" if row.acked_at else ""),
        (
            "Acknowledge",
            "" if row.over_at or row.acked_at or not row.id else f'warrener alerts ack {row.id} "your note"',
        ),
    ]
    return [(name, value) for name, value in facts if value]


def _label(row: AlertRow) -> str:
    rule = rule_of(row.alert.kind)
    return f"{'OVER' if row.over_at else str(row.alert.severity).upper()}  {rule.one}: {row.alert.subject}"


def _rest(told: Told) -> str:
    return f"And {told.unnamed:,} more: warrener alerts list" if told.unnamed else ""


def _footer(told: Told) -> str:
    opened, due = told.letter.opened_at, told.letter.due_at
    gathered = f", gathered from {_moment(opened)} to {_moment(due)}" if due > opened else ""
    return f"Sent by Warrener{gathered}. All alerts: warrener alerts list"


def text(told: Told) -> str:
    """Write a letter as plain text."""
    parts = [] if told.alone else [headline(told), ""]
    for row in told.rows:
        parts += [_label(row), f"  {row.alert.text}", ""]
        parts += [f"  {name:<15} {value}" for name, value in _facts(row)]
        if excerpt := _excerpt(told, row):
            parts += ["", *(f"  | {line}" for line in excerpt.splitlines())]
        parts.append("")
    if rest := _rest(told):
        parts += [rest, ""]
    return "\n".join([*parts, "-- ", _footer(told), ""])


def _excerpt(told: Told, row: AlertRow) -> str:
    """Return the end of what was printed; many share the room."""
    return shortened(row.alert.excerpt, max(200, MAX_EXCERPT_BYTES // max(1, len(told.rows))))


_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title></head>
<body style="margin:0;padding:16px;background:#f4f4f5;color:#18181b;font:15px/1.45 system-ui,sans-serif">
<div style="max-width:680px;margin:0 auto">
<h1 style="font-size:19px;margin:0 0 12px">{title}</h1>
{alerts}{rest}
<p style="color:#71717a;font-size:13px;margin:16px 0 0">{footer}</p>
</div></body></html>
"""
_ALERT = """\
<div style="background:#fff;border-left:5px solid {colour};padding:12px 16px;margin:0 0 12px">
<div style="color:{colour};font-size:12px;font-weight:bold;letter-spacing:.05em">{state}</div>
<div style="font-weight:bold;margin:2px 0;overflow-wrap:anywhere">{title}</div>
<div style="margin:0 0 8px;overflow-wrap:anywhere">{text}</div>
<table style="border-collapse:collapse;font-size:14px">{facts}</table>{excerpt}
</div>
"""
_FACT = (
    '<tr><td style="color:#71717a;padding:1px 14px 1px 0;vertical-align:top;white-space:nowrap">{name}</td>'
    '<td style="overflow-wrap:anywhere">{value}</td></tr>'
)
_CODE = '<code style="background:#f4f4f5;padding:1px 4px">{code}</code>'
_EXCERPT = (
    '<pre style="background:#f4f4f5;padding:8px;margin:8px 0 0;font-size:13px;white-space:pre-wrap;'
    'overflow-wrap:anywhere">{text}</pre>'
)


def html(told: Told) -> str:
    """Write a letter as HTML, without anything to fetch."""
    rest = f"<p>{escape(_rest(told))}</p>\n" if told.unnamed else ""
    return _PAGE.format(
        title=escape(headline(told)),
        alerts="".join(_alert(told, row) for row in told.rows),
        rest=rest,
        footer=escape(_footer(told)),
    )


def _alert(told: Told, row: AlertRow) -> str:
    state, _, title = _label(row).partition("  ")
    facts = "".join(_FACT.format(name=name, value=_value(name, value)) for name, value in _facts(row))
    excerpt = _excerpt(told, row)
    return _ALERT.format(
        colour=_OVER if row.over_at else _COLOURS[row.alert.urgency],
        state=state,
        title=escape(title),
        text=escape(row.alert.text),
        facts=facts,
        excerpt=_EXCERPT.format(text=escape(excerpt)) if excerpt else "",
    )


def _value(name: str, value: str) -> str:
    return _CODE.format(code=escape(value)) if name in ("Look further", "Acknowledge") else escape(value)


# ── the mail ─────────────────────────────────────────────────────────────────────────────────────────────────────


def mail(told: Told, *, sender: str, recipient: str) -> EmailMessage:
    """Write a letter as a mail. The same letter has the same Message-ID, however often it is sent."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = Address("Warrener", addr_spec=sender)
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = one_line(f"[warrener] {headline(told)}", _SUBJECT)
    message["Date"] = format_datetime(told.letter.due_at)
    message["Message-ID"] = f"<{told.letter.token}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Warrener-Severity"] = str(told.severity)
    if told.severity is Severity.CRITICAL:
        message["Importance"] = "high"
    message.set_content(text(told), cte="quoted-printable")
    message.add_alternative(html(told), subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{told.letter.token}")  # by chance otherwise, and a repetition should be the same
    return message


def posted(told: Told) -> dict[str, Any]:
    """Write a letter as JSON. `id` is the same however often it is sent."""
    return {
        "kind": "alerts/1",
        "id": told.letter.token,
        "headline": headline(told),
        "severity": str(told.severity),
        "counts": {kind: {"began": began, "over": over} for kind, (began, over) in told.content.counts.items()},
        "alerts": [
            {
                "number": row.id,
                "kind": row.alert.kind,
                "subject": row.alert.subject,
                "severity": str(row.alert.severity),
                "site": row.alert.site,
                "owner": row.alert.owner,
                "text": row.alert.text,
                "cause": row.alert.cause,
                "look": row.alert.look,
                "excerpt": _excerpt(told, row),
                "at": row.at.isoformat(),
                "over_at": row.over_at.isoformat() if row.over_at else None,
                "over_text": row.over_text,
            }
            for row in told.rows
        ],
        "more": told.unnamed,
    }
