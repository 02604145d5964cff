"""The performer of jobs: from an order to a command under a runner, and from its end to an output."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from warrener.errors import TaskFailed
from warrener.ids import AttemptRef, BootId, WorkerName
from warrener.messages import Json, Kind, Order
from warrener.performer import Assignment
from warrener.site import Site
from warrener.target import Ended, Job, Started, Target
from warrener_services.job_submission.launch import clean_surroundings, make_job, read_section, write_files
from warrener_services.job_submission.outcome import output_of
from warrener_services.job_submission.printed import Printed
from warrener_services.job_submission.redaction import Redaction

log = structlog.get_logger(__name__)

T = TypeVar("T")
LOOK_S = 0.3
"""How often the streams of a running job are looked at for its live log."""


class JobPerformer:
    """Performs tasks of the kind `job` on one target.

    `worker` is written into each note: workers of one site share the folder of attempts, and each recovers its own.
    `surroundings` is what every job finds in its environment; by default PATH, HOME, LANG and TMPDIR of this program.
    """

    kind = Kind.JOB

    def __init__(
        self,
        target: Target,
        secrets_folder: Path,
        *,
        site: Site,
        worker: WorkerName,
        surroundings: Mapping[str, str] | None = None,
    ) -> None:
        self._target = target
        self._secrets = secrets_folder
        self._site = site
        self._worker = worker
        self._surroundings = clean_surroundings() if surroundings is None else dict(surroundings)
        self._started: dict[AttemptRef, Started] = {}

    async def perform(self, assignment: Assignment) -> Json:
        job = await self._prepare(assignment)
        redaction = Redaction(job.secrets.values())
        started = await self._start(assignment, job)
        try:
            ended, printed = await self._follow(assignment, started, redaction)
        except asyncio.CancelledError:
            await self._heed_stop(assignment, started)
            raise
        return output_of(ended, started.folder, printed.last_lines, redaction, timeout_s=job.timeout_s)

    async def extended(self, assignment: Assignment) -> None:
        started = self._started.get(assignment.ref)
        if started is not None:
            await self._target.extend(started, _lease_of(assignment))

    async def recover(self) -> Sequence[Assignment]:
        found = [(started, _read_note(started.note)) for started in await self._target.found()]
        own = [(started, note) for started, note in found if note and note.get("worker") == self._worker]
        kept = [(started, note) for started, note in own if not await self._died_with_us(started)]
        self._started |= {started.ref: started for started, _ in kept}
        return [self._assignment(started, note) for started, note in kept]

    async def _died_with_us(self, started: Started) -> bool:
        """Forget a job whose runner died together with the worker: it is lost, as the next heartbeat will prove."""
        if not await self._target.lost(started):
            return False
        log.warning("a job died with the worker, as when a host is restarted; it is lost", attempt=str(started.ref))
        await self._target.forget(started)
        return True

    async def forget(self, ref: AttemptRef) -> None:
        known = self._started.pop(ref, None)
        for started in [known] if known else await self._target.found():
            if started.ref == ref:
                await self._target.forget(started)

    async def _prepare(self, assignment: Assignment) -> Job:
        """Put the job together; one that cannot be, and was left by an earlier life, is stopped first."""
        left = self._started.get(assignment.ref)
        order = assignment.order
        folder = assignment.site.run_folder(order.run)
        try:
            section = read_section(order)
            job = await asyncio.to_thread(make_job, order, section, folder, self._surroundings, self._secrets)
            if left is None:  # else they were written before the intent was, and the job may have changed them
                await asyncio.to_thread(write_files, folder, section.files)
        except (TaskFailed, asyncio.CancelledError) as error:
            if left is not None and (assignment.stop or isinstance(error, TaskFailed)):
                await _uninterrupted(self._end(left, assignment.stop or "not yours"))
            raise
        return job

    async def _start(self, assignment: Assignment, job: Job) -> Started:
        """Start, or join, the job. A cancellation waits until it is known what runs."""
        lease_until_s = _lease_of(assignment)
        starting = asyncio.ensure_future(
            self._target.start(assignment.ref, job, lease_until_s=lease_until_s, note=self._note(assignment))
        )
        try:
            started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(TaskFailed):  # then nothing runs
                started = await _uninterrupted(starting)
                self._started[assignment.ref] = started
                await self._heed_stop(assignment, started)
            raise
        self._started[assignment.ref] = started
        if _lease_of(assignment) != lease_until_s:  # it moved meanwhile
            await self._target.extend(started, _lease_of(assignment))
        return started

    async def _follow(self, assignment: Assignment, started: Started, redaction: Redaction) -> tuple[Ended, Printed]:
        printed = Printed(started.folder, assignment, redaction)
        waiting = asyncio.ensure_future(self._target.wait(started))
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=LOOK_S)
                printed.look()
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})
        while printed.look():  # noqa: ASYNC110 - it polls nothing
            await asyncio.sleep(0)  # much may have come at once: let others have their turn
        printed.finish()
        return waiting.result(), printed

    async def _heed_stop(self, assignment: Assignment, started: Started) -> None:
        if assignment.stop is not None:
            await _uninterrupted(self._end(started, assignment.stop))

    async def _end(self, started: Started, reason: Any) -> None:
        await self._target.stop(started, reason)
        await self._target.wait(started)

    def _note(self, assignment: Assignment) -> str:
        return json.dumps(
            {
                "worker": self._worker,
                "boot": assignment.boot,
                "token": assignment.token,
                "order": assignment.order.model_dump(mode="json", exclude_defaults=True),
            }
        )

    def _assignment(self, started: Started, note: dict[str, Json]) -> Assignment:
        return Assignment(
            order=Order.model_validate(note["order"]),
            site=self._site,
            token=note["token"],
            boot=BootId(note["boot"]),
            lease_until_s=started.lease_until_s,
            log=lambda _stream, _text: None,  # the worker puts its own in
        )


def _lease_of(assignment: Assignment) -> float:
    if assignment.lease_until_s is None or assignment.order.on_lost != "retry":
        return float("inf")  # no copy follows, so it runs on without its worker
    return assignment.lease_until_s


def _read_note(note: str) -> dict[str, Json] | None:
    """Return a note of a performer of jobs; None for what somebody else started on the target."""
    try:
        read = json.loads(note)
    except ValueError:
        return None
    return read if isinstance(read, dict) and {"worker", "boot", "token", "order"} <= read.keys() else None


async def _uninterrupted(work: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """Wait for work to its end, however often this is cancelled; the caller raises CancelledError after."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
    return task.result()
