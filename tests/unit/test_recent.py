"""What was read lately is kept, and no more of it than it may."""

from __future__ import annotations

import pytest

from warrener.recent import Recent


def counted(characters: int) -> tuple[Recent[int], list[str]]:
    made: list[str] = []

    def make(text: str) -> int:
        if text == "bad":
            raise ValueError(text)
        made.append(text)
        return len(text)

    return Recent(make, characters=characters), made


def test_the_same_text_is_made_once() -> None:
    recent, made = counted(100)
    assert [recent("abc"), recent("abc"), recent("de")] == [3, 3, 2]
    assert made == ["abc", "de"]


def test_the_longest_unused_goes_when_the_texts_become_too_long() -> None:
    recent, made = counted(10)
    for text in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"):
        recent(text)
    assert made == ["aaaa", "bbbb", "cccc", "bbbb"]


def test_a_text_that_is_too_long_is_not_kept() -> None:
    recent, made = counted(3)
    recent("abcd")
    recent("abcd")
    assert made == ["abcd", "abcd"]


def test_what_cannot_be_made_is_tried_each_time() -> None:
    recent, _ = counted(10)
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            recent("bad")
