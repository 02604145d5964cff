"""Runs: submit, list, look, wait, cancel, retry."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from warrener.errors import Conflict
from warrener.ids import RunId
from warrener.messages import Json
from warrener.runs import FINAL, RunState
from warrener.states import FINAL as FINAL_TASKS
from warrener.states import State
from warrener.store import Changes, RunFilter, RunRow, Transaction
from warrener.views import LIMIT, Asked, RunDetail, RunPage, RunView, Submission, Submitted, Waiting, WaitingPage
from warrener.waiting import why, why_run
from warrener_services.gateway.accepting import accept
from warrener_services.gateway.gateway import Gateway
from warrener_services.gateway.looking import find_run, output_of, run_detail, run_view
from warrener_services.gateway.standing import standing

from .given import TheGateway, TheRun

router = APIRouter(tags=["runs"])

_SETTLE_S = 0.05
"""After news of a run, wait this long for more: one picture then shows them all."""
_EXPLAINED = 100
"""For how many tasks of a run it is said what they wait for."""


class RunsAsked(Asked):
    """Which runs to list."""

    state: list[RunState] = Field(default=[], description="Only runs in one of these states.")
    owner: str | None = Field(default=None, description="Only runs of this owner.")
    workflow: str | None = Field(default=None, description="Only runs of this workflow.")
    before: str | None = Field(default=None, description="Only runs older than this one: `next` of a page.")
    limit: int = Field(default=50, ge=1, le=LIMIT)


@router.post("/runs", status_code=202, summary="Submit runs of a workflow")
async def submit(asked: Submission, gateway: TheGateway) -> Submitted:
    """Answer once the runs are committed. The same owner and key always give the same run, so repeating is safe."""
    return await accept(gateway, asked)


@router.get("/runs", summary="List runs, newest first")
async def runs(asked: Annotated[RunsAsked, Query()], gateway: TheGateway) -> RunPage:
    """Return a page of runs; give its `next` as `before` for the following one."""
    before = RunId(asked.before) if asked.before else None
    which = RunFilter(tuple(asked.state), asked.owner, asked.workflow, before, asked.limit)
    rows = await gateway.read(lambda tx: tx.runs.list(which))
    return RunPage(runs=[run_view(row) for row in rows], next=rows[-1].id if len(rows) == asked.limit else None)


@router.get("/runs/{run}", summary="Look at a run and its tasks, or wait until they change")
async def show(
    run: TheRun,
    gateway: TheGateway,
    response: Response,
    wait: Annotated[float, Query(ge=0, le=60, description="Wait up to so many seconds for a change.")] = 0,
    seen: Annotated[str, Query(description="`seen` of the picture that you have; wait for another one.")] = "",
) -> RunDetail:
    """Return the run; with `wait` and `seen`, once it looks different or the time is over."""
    detail = await gateway.read(lambda tx: _detail(tx, run))
    if wait and detail.seen == seen:
        detail = await _changed(gateway, detail, wait)
    response.headers["ETag"] = f'"{detail.seen}"'
    return detail


def _detail(tx: Transaction, run: str) -> RunDetail:
    row = find_run(tx, run)
    return run_detail(row, tx.tasks.of_run(row.id))


async def _changed(gateway: Gateway, seen: RunDetail, wait_s: float) -> RunDetail:
    clock = asyncio.get_running_loop().time
    until = clock() + wait_s
    with gateway.watch.of(seen.id) as watcher:
        while True:
            detail = await gateway.read(lambda tx: _detail(tx, seen.id))
            left_s = until - clock()
            if detail.seen != seen.seen or left_s <= 0 or gateway.watch.closed:
                return detail
            await watcher.next(left_s)
            await asyncio.sleep(_SETTLE_S)


@router.get("/runs/{run}/outputs", summary="Collect the outputs of a run's tasks")
async def outputs(run: TheRun, gateway: TheGateway) -> dict[str, Json]:
    """Return, by name, what the succeeded tasks gave out."""

    def look(tx: Transaction) -> dict[str, Json]:
        rows = tx.tasks.of_run(find_run(tx, run).id)
        return {row.name: output_of(row) for row in rows if row.state is State.SUCCEEDED}

    return await gateway.read(look)


@router.get("/runs/{run}/why", summary="Say what a run waits for")
async def why_of_run(run: TheRun, gateway: TheGateway) -> WaitingPage:
    """Say in one sentence each what the run and its unfinished tasks wait for."""
    now = gateway.clock.now()
    heard = gateway.roll.call(now)

    def look(tx: Transaction) -> WaitingPage:
        workers = standing(heard, tx, now)
        row = find_run(tx, run)
        tasks = tx.tasks.of_run(row.id)
        by_n = {task.n: task for task in tasks}
        upstream: dict[int, list[int]] = {}
        for need, n in tx.tasks.needs_of_run(row.id):
            upstream.setdefault(n, []).append(need)
        unfinished = [task for task in tasks if task.state not in FINAL_TASKS]
        sentences = [
            Waiting(
                task=task.name,
                state=task.state,
                why=why(
                    task, row, [by_n[n] for n in upstream.get(task.n, ())], tx.tasks.attempts(task.ref), workers, now
                ),
            )
            for task in unfinished[:_EXPLAINED]
        ]
        return WaitingPage(run=row.id, state=row.state, why=why_run(row, len(unfinished), now), tasks=sentences)

    return await gateway.read(look)


@router.post("/runs/{run}/cancel", status_code=202, summary="Cancel a run")
async def cancel(run: TheRun, gateway: TheGateway) -> RunView:
    """Answer once the wish is committed; the run is `cancelling`, then `cancelled`, when its workers have stopped."""
    return await _intend(gateway, run, "cancel")


@router.post("/runs/{run}/retry", status_code=202, summary="Give a failed or cancelled run another go")
async def retry(run: TheRun, gateway: TheGateway) -> RunView:
    """Answer once the wish is committed. What succeeded stays; everything else is tried again."""
    return await _intend(gateway, run, "retry")


async def _intend(gateway: Gateway, prefix: str, what: Literal["cancel", "retry"]) -> RunView:
    now = gateway.clock.now()

    def write(tx: Transaction) -> RunRow:
        run = find_run(tx, prefix)
        _check(run, what)
        tx.write(Changes(wanted=[(run.id, what, now)]))
        return run

    run = await gateway.write(write)
    gateway.wake({run.shard})
    return run_view(run)


def _check(run: RunRow, what: Literal["cancel", "retry"]) -> None:
    if what == "cancel" and run.state in FINAL:
        raise Conflict(f"run {run.id} has already {_ENDED[run.state]}; there is nothing left to cancel")
    if what == "retry" and run.state == RunState.SUCCEEDED:
        raise Conflict(f"run {run.id} has succeeded; submit it again under another key to run it once more")
    if what == "retry" and run.state not in FINAL:
        raise Conflict(f"run {run.id} is still {run.state}; only a failed or cancelled run can be retried")


_ENDED: dict[str, str] = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "been cancelled",
}
