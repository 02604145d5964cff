"""Performing one attempt, from its start to its ending.

An attempt is interrupted by cancelling the task that performs it and taking the cancellation back (`Task.uncancel`), as
`asyncio.timeout` does: one task may perform many light calls, one after another.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from warrener.errors import Cause
from warrener.messages import Kind
from warrener.performer import Performer
from warrener.worker import endings
from warrener.worker.work import Work

_JOB_MARGIN_S = 60.0


class Running:
    """Performs attempts under their timeouts, and makes an ending of whatever comes out."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer

    async def perform(self, work: Work) -> None:
        """Perform to the end and note the ending; None if there is nothing to report.

        CancelledError leaves only when the worker itself is stopping; then the work is not over.
        """
        task = work.task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        timer = self._start_timer(work)
        try:
            reason = work.assignment.stop
            if reason is not None and work.recovered:  # what runs must be joined to be ended
                asyncio.get_running_loop().call_soon(work.stop, reason)
            if reason is None or work.recovered:
                work.ending = await self._outcome(work)
            else:
                work.ending = self._ending_of_stopped(work)
        finally:
            work.task = None
            if timer is not None:
                timer.cancel()
            if work.interrupted and task.uncancel() > cancelling:
                raise asyncio.CancelledError
        work.over = True
        work.assignment.log = unheard

    async def _outcome(self, work: Work) -> endings.Ending | None:
        try:
            output = await self._performer.perform(work.assignment)
        except asyncio.CancelledError:
            if not work.interrupted:
                if self._task_is_cancelled(work):
                    raise
                return endings.failed(Cause.ERROR, "the work cancelled itself (CancelledError)", _seconds(work))
            return self._ending_of_stopped(work)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is the attempt's end, not the worker's
            return self._ending_of_stopped(work) if work.interrupted else endings.failed_by(error, _seconds(work))
        return endings.succeeded(output, _seconds(work))  # also after a stop: it was done before the kill

    def _task_is_cancelled(self, work: Work) -> bool:
        return work.task is not None and work.task.cancelling() > 0

    def _ending_of_stopped(self, work: Work) -> endings.Ending | None:
        if work.assignment.stop == "not yours":
            return None
        if work.timed_out:
            sentence = f"it ran longer than its timeout of {work.order.timeout_s:g} s and was stopped"
            return endings.failed(Cause.TIMEOUT, sentence, _seconds(work))
        return endings.cancelled(_seconds(work))

    def _start_timer(self, work: Work) -> asyncio.TimerHandle | None:
        limit_s = work.order.timeout_s
        if limit_s is None:
            return None
        if self._performer.kind is Kind.JOB:
            limit_s += _JOB_MARGIN_S  # the runner keeps the exact time, from the job's own start
        return asyncio.get_running_loop().call_later(limit_s, self._time_out, work)

    def _time_out(self, work: Work) -> None:
        if work.assignment.stop is None:
            work.timed_out = True
            work.stop("cancelled")


def _seconds(work: Work) -> float:
    return max(0.0, asyncio.get_running_loop().time() - work.began_s)


def unheard(stream: Literal["stdout", "stderr"], text: str) -> None:
    """Take what is printed before the start and after the end."""
