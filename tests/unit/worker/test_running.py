"""Performing one attempt: what is stopped before it begins, and what an earlier life began."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from warrener.ids import BootId
from warrener.messages import Kind, Order, Outcome
from warrener.performer import Assignment
from warrener.site import Site
from warrener.worker.running import Running, unheard
from warrener.worker.work import Work


class Patient:
    """Works until it is cancelled; tells whether it was begun, and what for it was ended."""

    kind = Kind.JOB

    def __init__(self) -> None:
        self.begun = 0
        self.ended_for: str | None = None

    async def perform(self, assignment: Assignment) -> Any:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended_for = assignment.stop
            raise


def a_work(*, recovered: bool) -> Work:
    order = Order.model_validate(
        {"run": "0" * 16, "n": 0, "attempt": 1, "task_name": "t", "workflow": "w", "task_kind": "job", "body": {}}
    )
    assignment = Assignment(order, Site("s", Path("/nowhere")), "a" * 32, BootId("b"), None, unheard)
    return Work(assignment, assignment.ref, asyncio.get_running_loop().time(), claimed=True, recovered=recovered)


async def test_what_is_stopped_before_it_begins_never_begins():
    performer, work = Patient(), a_work(recovered=False)
    work.stop("cancelled")
    await Running(performer).perform(work)
    assert performer.begun == 0
    assert work.ending is not None
    assert work.ending.outcome is Outcome.CANCELLED


@pytest.mark.parametrize("reason", ["cancelled", "not yours"])
async def test_what_an_earlier_life_began_is_ended_even_if_it_is_stopped_before_it_is_joined(reason):
    performer, work = Patient(), a_work(recovered=True)
    work.stop(reason)
    await Running(performer).perform(work)
    assert (performer.begun, performer.ended_for) == (1, reason)
    assert (work.ending is None) == (reason == "not yours")
