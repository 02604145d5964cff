"""`--kinds`, as people write it."""

from __future__ import annotations

import pytest

from warrener.dividing import Bounds
from warrener.errors import InvalidSettings
from warrener_services.cli.kinds import read_kinds


def test_kinds_have_bounds_if_wanted() -> None:
    assert read_kinds("env, stage:2,job:0-8", []) == {"env": Bounds(), "stage": Bounds(2), "job": Bounds(0, 8)}


def test_apps_are_served_whether_they_are_named_or_not() -> None:
    assert read_kinds("job,images:2-4", ["images", "text"]) == {
        "job": Bounds(), "call.images": Bounds(2, 4), "call.text": Bounds(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jobs", "there is no kind 'jobs'; did you mean 'job'?"),
        ("job:", "'job:' is no kind; write a kind, with its least and most slots if wanted"),
        ("job:4-x", "'job:4-x' is no kind"),
        ("job,env,job", "job is there twice"),
        (" , ", "name a kind at least"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        read_kinds(text, [])
    assert says in str(caught.value)
