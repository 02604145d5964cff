"""Alerts: what admins are told, as rules without I/O.

    cause ──▶ Alert ──▶ row of `alerts` ──▶ the gossip program's desk: routes, folding ──▶ mail, webhook

Whoever has a store writes an alert in the transaction of what caused it (`Changes.alerts`, in a scheduler
`tick.alert`). Whoever has none sends it as `alert/1` (`warrener.runtime.alerting`). Raising the same one again while it
is open changes nothing but a count, so nobody has to remember what was raised; and one with `over=True` ends the
episode, or changes nothing where there is none.

A new kind is a line of `AlertKind` and one of `RULES`, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

MAX_LINE = 500
"""The most characters of each line of an alert."""

MAX_EXCERPT_BYTES = 4096
"""The most bytes of what a task printed that an alert carries."""

MAX_SUBJECT = 200


class Severity(StrEnum):
    """How urgent it is. Quiet hours hold back what is not critical."""

    CRITICAL = "critical"  # the deployment, or a part of it, does not work
    ERROR = "error"  # something that was asked for will not come
    WARNING = "warning"  # it may come to that
    INFO = "info"  # good to know

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return list(Severity).index(self)


class AlertKind(StrEnum):
    """What may be alerted. The recovery of each is the same kind with `over=True`."""

    MEMBER_FAILED = "member-failed"  # gossip: a host died or cannot be reached; over: it is back, or out of the pool
    MEMBER_LEFT = "member-left"  # gossip: a host left as planned; over: it joined again
    MEMBER_FLAPPING = "member-flapping"  # gossip: a host goes and comes all the time; over: it has been stable
    TASK_FAILED = "task-failed"  # a task failed for good; over: it was given another go
    GRACE_MISSED = "grace-missed"  # nobody could start a task in its grace; over: it was given another go
    DEADLINE_MISSED = "deadline-missed"  # a result was not there when it was due; over: it came
    RUN_STUCK = "run-stuck"  # a run has made no progress for long; over: it moves again, or ended
    TASK_POISON = "task-poison"  # a task kills whoever runs it; over: it was let out of quarantine
    HOST_SET_ASIDE = "host-set-aside"  # a host gets no more work for its failures; over: it gets work again
    MESSAGE_PARKED = "message-parked"  # nobody could handle a message; over: it was replayed or dropped
    BACKLOG = "backlog"  # more waits than should; over: half of that or less
    WORKERS_TROUBLE = "workers-trouble"  # workers cannot be started or stopped as wanted; over: they can
    BROKER_TROUBLE = "broker-trouble"  # over: it is back
    STORE_TROUBLE = "store-trouble"  # over: it is back
    GOSSIP_TROUBLE = "gossip-trouble"  # the Serf agent; over: it is back
    TEST = "test"  # `warrener alerts test`


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for a kind: its severity, and words for one and for many of it, and for its recovery."""

    severity: Severity
    one: str
    many: str
    over: str


_C, _E, _W, _I = Severity

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        AlertKind.MEMBER_FAILED: Rule(_C, "host failed", "hosts failed", "over"),
        AlertKind.MEMBER_LEFT: Rule(_I, "host left", "hosts left", "joined again"),
        AlertKind.MEMBER_FLAPPING: Rule(_W, "host comes and goes", "hosts come and go", "stable again"),
        AlertKind.TASK_FAILED: Rule(_E, "task failed", "tasks failed", "given another go"),
        AlertKind.GRACE_MISSED: Rule(_E, "task expired", "tasks expired", "given another go"),
        AlertKind.DEADLINE_MISSED: Rule(_E, "deadline missed", "deadlines missed", "done late"),
        AlertKind.RUN_STUCK: Rule(_W, "run stuck", "runs stuck", "moving again"),
        AlertKind.TASK_POISON: Rule(_E, "poisonous task", "poisonous tasks", "released"),
        AlertKind.HOST_SET_ASIDE: Rule(_W, "host set aside", "hosts set aside", "getting work again"),
        AlertKind.MESSAGE_PARKED: Rule(_W, "message parked", "messages parked", "taken care of"),
        AlertKind.BACKLOG: Rule(_W, "backlog", "backlogs", "worked off"),
        AlertKind.WORKERS_TROUBLE: Rule(_E, "trouble with workers", "troubles with workers", "over"),
        AlertKind.BROKER_TROUBLE: Rule(_C, "trouble with the broker", "troubles with the broker", "over"),
        AlertKind.STORE_TROUBLE: Rule(_C, "trouble with the database", "troubles with the database", "over"),
        AlertKind.GOSSIP_TROUBLE: Rule(_C, "trouble with gossip", "troubles with gossip", "over"),
        AlertKind.TEST: Rule(_I, "test", "tests", "over"),
    }
)

_UNKNOWN = Rule(_E, "alert", "alerts", "over")


def rule_of(kind: str) -> Rule:
    """Return what holds for a kind; a newer program may know some that this one does not."""
    return RULES.get(kind, _UNKNOWN)


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that an admin should know, or, with `over`, need not worry about any more.

    `subject` is what it is about, and with the kind it names the episode: `RUN/TASK`, a member, a queue. `text` is one
    sentence; `cause` the probable cause, `look` a command to look further, `excerpt` the end of what was printed.
    `severity` is the kind's unless given.

    Whatever is put in comes out as clean, redacted lines of bounded length: a new line in a task's name can neither
    forge a header of a mail nor keep the alert from being told.
    """

    kind: str
    subject: str
    text: str
    severity: Severity | None = None
    site: str = ""
    owner: str = ""
    cause: str = ""
    look: str = ""
    excerpt: str = ""
    over: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "kind", str(self.kind))
        put(self, "subject", one_line(self.subject, MAX_SUBJECT) or "?")
        put(self, "severity", Severity(self.severity) if self.severity else rule_of(self.kind).severity)
        for name in ("text", "cause", "look"):
            put(self, name, redacted(one_line(getattr(self, name), MAX_LINE)))
        for name in ("site", "owner"):
            put(self, name, one_line(getattr(self, name), MAX_SUBJECT))
        if self.excerpt:
            put(self, "excerpt", shortened(redacted(clean(self.excerpt))))

    @property
    def urgency(self) -> Severity:
        """The severity, which there always is."""
        assert self.severity is not None
        return self.severity

    @property
    def episode(self) -> str:
        """The key under which it is raised, repeated, and over."""
        return episode_of(self.kind, self.subject)


def episode_of(kind: str, subject: str) -> str:
    """Return the key of an episode."""
    return f"{kind}:{subject}"


# ── text from outside ────────────────────────────────────────────────────────────────────────────────────────────


_STEERING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]")
# Controls, what turns the direction of writing, what nobody sees (but joiners: some scripts need them), and lone
# surrogates, which no encoding takes.
_BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_SECRETS = re.compile(
    r"""
    (?P<url>[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}):[^\s/@]{1,200}@
    | (?P<name>\b[\w-]{0,40}(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key)[\w-]{0,20}
        ["']?\s{0,3}[=:]\s{0,3}["']?)
      (?:(?<=")(?:\\.|[^"\\\n]){1,500} | (?<=')(?:\\.|[^'\\\n]){1,500} | [^\s"';&]{1,500})
    | (?P<scheme>\b(?:bearer|basic)\s)[A-Za-z0-9+/=._~-]{8,2000}
    | (?P<known>\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,255}|glpat-[\w-]{20,100}|xox[abprs]-[\w-]{10,200}
        |eyJ[\w-]{10,2000}\.[\w-]{10,2000}\.[\w-]{10,2000}))
    | (?P<key>-----BEGIN[ A-Z]{0,40}PRIVATE[ ]KEY-----).{0,10000}?(?:-----END[ A-Z]{0,40}-----|\Z)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_HIDDEN = "***"


def clean(text: str) -> str:
    """Take out what would steer a terminal or confuse a mail; new lines and tabs stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    return _BAD.sub("", _STEERING.sub("", text) if "\x1b" in text or "\x9b" in text else text)


def one_line(text: str, most: int) -> str:
    """Squeeze a text to one clean line."""
    if text.isascii() and text.isprintable() and len(text) <= most and "  " not in text:
        return text.strip()
    line = " ".join(clean(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def redacted(text: str) -> str:
    """Hide what looks like a password, token or key."""
    return _SECRETS.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    kept = found["url"] or found["name"] or found["scheme"]
    if found["url"]:
        return f"{kept}:{_HIDDEN}@"
    return f"{kept or ''}{_HIDDEN}"


def shortened(text: str, most_bytes: int = MAX_EXCERPT_BYTES) -> str:
    """Keep the end of a text, within so many bytes of UTF-8."""
    raw = text.encode(errors="replace")
    if len(raw) <= most_bytes:
        return text
    mark = "…"
    return mark + raw[-(most_bytes - len(mark.encode())) :].decode(errors="ignore")
