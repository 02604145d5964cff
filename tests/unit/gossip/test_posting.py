"""What the answer of a webhook means."""

from __future__ import annotations

import pytest

from warrener_services.gossip.posting import verdict_of


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "sent"), (204, "sent"), (301, "refused"), (308, "refused"), (400, "refused"), (404, "refused"),
        (408, "again"), (425, "again"), (429, "again"), (500, "again"), (503, "again"),
    ],
)  # fmt: skip
def test_an_answer_is_taken_for_now_or_for_good(status: int, verdict: str) -> None:
    assert verdict_of(status) == verdict
