"""Alerts: what they carry is clean, whoever chose the words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.alerts import (
    MAX_EXCERPT_BYTES,
    MAX_LINE,
    MAX_SUBJECT,
    RULES,
    Alert,
    AlertKind,
    Severity,
    redacted,
    rule_of,
)
from warrener.messages import AlertNote, decode, encode

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANY = st.text(st.characters(exclude_categories=()), max_size=2_000)
"""Any text at all, lone surrogates as well."""


@given(ANY, ANY, ANY)
def test_whatever_goes_in_every_line_is_one_clean_line(subject: str, text: str, excerpt: str) -> None:
    fields = {"site": subject, "owner": text, "cause": text, "look": text}
    alert = Alert(AlertKind.TASK_FAILED, subject, text, **fields, excerpt=excerpt)

    for line in (alert.subject, alert.text, alert.site, alert.owner, alert.cause, alert.look):
        assert len(line) <= MAX_LINE
        assert not set(line) & {*map(chr, [*range(32), *range(0x7F, 0xA0)]), "\u2028", "\u2029", "\u202e", "\ud800"}
    assert 0 < len(alert.subject) <= MAX_SUBJECT
    assert len(alert.excerpt.encode()) <= MAX_EXCERPT_BYTES
    assert not set(alert.excerpt) & set("\r\x00\x1b\u202e")


@given(ANY, ANY)
def test_cleaning_twice_changes_nothing_more(subject: str, text: str) -> None:
    once = Alert(AlertKind.BACKLOG, subject, text, excerpt=text)

    assert Alert(AlertKind.BACKLOG, once.subject, once.text, excerpt=once.excerpt) == once


@given(ANY, ANY, st.booleans())
def test_an_alert_travels_as_it_is(subject: str, text: str, over: bool) -> None:
    alert = Alert(AlertKind.TASK_POISON, subject, text, over=over, excerpt=text, severity=Severity.INFO)

    assert decode(AlertNote.KIND, encode(AlertNote.of(alert, AT)), AlertNote).alert() == alert


def test_a_new_line_in_a_name_stays_in_its_line() -> None:
    alert = Alert(AlertKind.TASK_FAILED, "run/plot\r\nBcc: eve@example.org", "plot\nfailed")

    assert alert.subject == "run/plot Bcc: eve@example.org"
    assert alert.text == "plot failed"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://me:s3cret@host/vhost is away", "amqp://me:***@host/vhost is away"),
        ("PASSWORD=hunter2 ./run", "PASSWORD=*** ./run"),
        ('{"api_key": "abcdef123"}', '{"api_key": "***"}'),
        ('login with password="two words" failed', 'login with password="***" failed'),
        ("passwd: 'it\\'s two', user: ada", "passwd: '***', user: ada"),
        ('{"password": "a\\"b c", "user": "ada"}', '{"password": "***", "user": "ada"}'),
        ('password="cut off in the', 'password="***'),
        ('secret="one line\nand another', 'secret="***\nand another'),
        ("password=a,b ./run", "password=*** ./run"),
        ('password="" ./run', 'password="" ./run'),
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: Bearer ***"),
        ("id AKIAABCDEFGHIJKLMNOP here", "id *** here"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter", "***\nafter"),
        ("nothing to hide, 3:15 pm, https://host/path", "nothing to hide, 3:15 pm, https://host/path"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_every_kind_has_its_rule_and_an_unknown_one_is_an_error() -> None:
    assert RULES.keys() == set(AlertKind)
    assert rule_of("of-a-newer-version").severity is Severity.ERROR
    assert Alert("of-a-newer-version", "x", "y").severity is Severity.ERROR


def test_the_same_subject_of_the_same_kind_is_one_episode() -> None:
    raised = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 does not answer")
    over = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 is back", over=True)

    assert raised.episode == over.episode != Alert(AlertKind.MEMBER_LEFT, "host-1", "").episode
