"""Tasks: one in full, what it printed, what it waits for."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from warrener.errors import NotFound
from warrener.ids import TaskRef
from warrener.states import FINAL, State
from warrener.store import Transaction
from warrener.views import LIMIT, LogPage, LogPieceView, TaskDetail, Waiting
from warrener.waiting import why
from warrener_services.gateway.looking import find_task, task_detail
from warrener_services.gateway.standing import standing

from .given import TheGateway, TheRun, TheTask

router = APIRouter(prefix="/runs/{run}/tasks/{name}", tags=["tasks"])

_PIECES = 200


@router.get("", summary="Look at a task with its output and history")
async def show(run: TheRun, name: TheTask, gateway: TheGateway) -> TaskDetail:
    """Return the task, the attempts behind it, and reports that were not applied."""

    def look(tx: Transaction) -> TaskDetail:
        _, task, needs = find_task(tx, run, name)
        return task_detail(task, needs, tx.tasks.attempts(task.ref), tx.notes.strays(task.ref))

    return await gateway.read(look)


@router.get("/why", summary="Say what a task waits for")
async def why_of_task(run: TheRun, name: TheTask, gateway: TheGateway) -> Waiting:
    """Say in one sentence what the task waits for and what would release it."""
    now = gateway.clock.now()
    heard = gateway.roll.call(now)

    def look(tx: Transaction) -> Waiting:
        row, task, needs = find_task(tx, run, name)
        sentence = why(task, row, needs, tx.tasks.attempts(task.ref), standing(heard, tx, now), now)
        return Waiting(task=task.name, state=task.state, why=sentence)

    return await gateway.read(look)


@router.get("/logs", summary="Read what a task printed")
async def logs(  # noqa: PLR0917 - FastAPI passes them by name
    run: TheRun,
    name: TheTask,
    gateway: TheGateway,
    stream: Literal["stdout", "stderr"] = "stdout",
    attempt: Annotated[int | None, Query(ge=1, description="Which attempt; the latest unless given.")] = None,
    start: Annotated[int, Query(ge=0, description="From which offset: `next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=LIMIT, description="How many pieces at most.")] = _PIECES,
) -> LogPage:
    """Return pieces of text as they came, unfiltered: strip control characters before you show them."""

    def look(tx: Transaction) -> LogPage:
        _, task, _ = find_task(tx, run, name)
        if attempt is not None and attempt > max(task.attempt, 1):
            tried = f"its latest attempt is number {task.attempt}" if task.attempt else "it has not been tried yet"
            raise NotFound(f"{name} of run {run} has no attempt {attempt}: {tried}")
        number = attempt or max(task.attempt, 1)
        pieces = tx.notes.logs(TaskRef(task.run, task.n), number, stream, start, limit)
        last = pieces[-1] if pieces else None
        return LogPage(
            attempt=number,
            stream=stream,
            pieces=[LogPieceView(start=piece.start, text=piece.text) for piece in pieces],
            next=last.start + max(len(last.text), 1) if last else start,
            open=len(pieces) == limit or (number >= task.attempt and _may_print(task.state)),
        )

    return await gateway.read(look)


def _may_print(state: State) -> bool:
    return state not in FINAL
