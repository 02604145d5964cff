"""The screen: nothing that a task printed may steer the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.alerts import clean
from warrener_services.cli.screen import one_line, span


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_no_control_character_but_new_line_and_tab_is_left(text: str) -> None:
    left = {char for char in clean(text) if unicodedata.category(char) == "Cc"}
    assert left <= {"\n", "\t"}


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("a\x08b\x07c\x9b2J", "abc"),
        ("ok \u202eevil", "ok evil"),
        ("a\u200bb\ufeff\ud800", "ab"),
        ("\x1b]0;a title without an end\nan error", "0;a title without an end\nan error"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("naïve ✓", "naïve ✓"),
    ],
)
def test_what_steers_a_terminal_is_taken_out(printed: str, shown: str) -> None:
    assert clean(printed) == shown


def test_lines_are_joined_and_cut() -> None:
    assert one_line("a\n\n  b\tc") == "a · b c"
    assert one_line("x" * 50, 10) == "xxxxxxxxx…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (9.9, "9.9 s"), (12.4, "12 s"), (60, "1 min"), (185, "3 min 5 s"), (7260, "2 h 1 min"),
        (90_000, "1 d 1 h"), (-1, "0.0 s"),
    ],
)  # fmt: skip
def test_lengths_of_time_read_well(seconds: float, text: str) -> None:
    assert span(seconds) == text
