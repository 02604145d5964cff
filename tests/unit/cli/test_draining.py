"""`warrener drain --wait` returns once nothing runs there, and not before that is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from warrener.views import WorkerView
from warrener_services.cli import draining


class Roll:
    """A client whose gateway says one thing after another about one worker."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)

    def workers(self) -> Sequence[WorkerView]:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        state = cast("Any", self.states.pop(0))
        fields: dict[str, Any] = {"name": "job-1", "kind": "job", "site": "s", "host": "h", "slots": 2, "free": 0}
        return [WorkerView(**fields, state=state, heard_at=now, attempts=1)]


def test_a_silent_worker_is_not_drained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(draining, "_LOOK_EVERY_S", 0)
    roll = Roll("draining", "silent", "silent", "drained")
    draining._wait(cast("Any", roll), "job-1", host=False)
    assert not roll.states
    told = "".join(capsys.readouterr())
    assert "job-1 has 1 in hand" in told
    assert told.count("job-1 is silent; what it runs is not known") == 1
