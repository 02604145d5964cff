"""What must be true after every commit, and at the end. Looks into the database without the code under test."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from simulation.loop import SimLoop
from simulation.store import Disk
from simulation.trace import Trace
from simulation.work import Ledger
from warrener.ids import AttemptRef, RunId
from warrener.runs import COUNTS_AS_CANCELLED, COUNTS_AS_FAILED
from warrener.runs import FINAL as FINAL_RUNS
from warrener.states import FINAL, MOVES, Move, State

_RUNS = "SELECT id, owner, key, state, tasks, unfinished, failed, cancelled, finished_at FROM runs"
_TASKS = (
    "SELECT run, n, state, attempt, unmet, worker, boot, output, cause, tries, policy, started_at, due_at, lane"
    " FROM tasks"
)


@dataclass(frozen=True, slots=True)
class TaskSeen:
    """A task as it stood after a commit."""

    run: str
    n: int
    state: State
    attempt: int
    unmet: int
    worker: str | None
    boot: str | None
    output: str | None
    cause: str | None
    tries: int
    policy: str
    started_at: int | None
    due_at: int | None
    lane: str


def _reachable() -> dict[State, set[State]]:
    """Say which states one commit may lead to: one or more moves, none of them a reopening."""
    reached: dict[State, set[State]] = {state: {state} for state in State}
    for _ in State:
        for (state, what), after in MOVES.items():
            if what is not Move.REOPEN:
                for known in reached.values():
                    if state in known:
                        known.add(after)
    return reached


_REACHABLE = _reachable()


class Checks:
    """The promises."""

    def __init__(self, loop: SimLoop, disk: Disk, ledger: Ledger, trace: Trace) -> None:
        self._loop, self._disk, self._ledger, self._trace = loop, disk, ledger, trace
        self._changes = -1
        self._tasks: dict[tuple[str, int], TaskSeen] = {}
        self._runs: dict[str, tuple[Any, ...]] = {}
        self._needs: dict[str, list[tuple[int, int]]] = {}
        self.accepted: dict[tuple[str, str], str] = {}
        """What clients were told: the run of each owner and key."""
        self.reopened: set[str] = set()
        """Runs that a person gave another go."""

    # ── what clients see ─────────────────────────────────────────────────────────────────────────────────────

    def was_accepted(self, owner: str, key: str, run: str) -> None:
        """Hear that a client was told so: it must be committed, and always be the same run."""
        known = self.accepted.setdefault((owner, key), run)
        if known != run:
            self._violate(f"the key {key} was given the runs {known} and {run}")
        if self._one("SELECT count(*) FROM runs WHERE id = ? AND owner = ? AND key = ?", run, owner, key) != 1:
            self._violate(f"the run {run} was accepted, but it is not in the store")

    # ── after every commit ───────────────────────────────────────────────────────────────────────────────────

    def committed(self) -> None:
        changes = self._disk.connection.total_changes
        if changes == self._changes:
            return
        self._changes = changes
        runs = {row[0]: row for row in self._disk.connection.execute(_RUNS)}
        tasks = {(row[0], row[1]): _seen(row) for row in self._disk.connection.execute(_TASKS)}
        self._keep_all(runs, tasks)
        for key, task in tasks.items():
            self._check_task(self._tasks.get(key), task, runs[task.run])
        self._check_runs(runs, tasks)
        for ref in list(self._ledger.doing):
            self._ledger.check(ref)
        self._runs, self._tasks = runs, tasks

    def _keep_all(self, runs: dict[str, Any], tasks: dict[tuple[str, int], TaskSeen]) -> None:
        lost = [run for run in self._runs if run not in runs] + [key for key in self._tasks if key not in tasks]
        if lost:
            self._violate(f"rows are gone: {lost[:3]}")

    def _check_task(self, was: TaskSeen | None, task: TaskSeen, run: tuple[Any, ...]) -> None:
        if was == task:
            return
        name = f"{task.run}/{task.n}"
        before = was.state if was is not None else State.WAITING
        if was is None or was.state is not task.state or was.attempt != task.attempt:
            facts = (f"#{task.attempt}", f"{before}→{task.state}", task.worker or "-", task.cause or "")
            self._trace.add("store", "task", name, *facts)
        if task.state not in _REACHABLE[before] and task.run not in self.reopened:
            self._violate(f"the task {name} went from {before} to {task.state}")
        if was is not None and before in FINAL and task.run not in self.reopened:
            self._violate(f"the final task {name} changed: {was} became {task}")
        if was is not None and task.attempt < was.attempt:
            self._violate(f"the task {name} went back from attempt {was.attempt} to {task.attempt}")
        stopped = self._runs.get(task.run, run)[3] in ("cancelling", "cancelled") and task.run not in self.reopened
        if was is not None and stopped and task.attempt > was.attempt:
            self._violate(f"the task {name} of a cancelled run got the attempt {task.attempt}")
        self._check_result(name, task)

    def _check_result(self, name: str, task: TaskSeen) -> None:
        if task.state is State.SUCCEEDED:
            ref = AttemptRef(RunId(task.run), task.n, task.attempt)
            output = json.loads(task.output or "null")
            if output not in self._ledger.outputs.get(ref, ()):
                self._violate(f"the output of {name} is {output}, which attempt {task.attempt} did not give")
        if task.state is State.FAILED and task.cause == "lost" and json.loads(task.policy).get("on_lost") != "fail":
            self._violate(f"the task {name} failed because its worker was lost; it should have been placed anew")
        if task.state is State.FAILED and task.cause == "cancelled":
            self._violate(f"the task {name} failed as cancelled, and nobody cancelled it")

    def _check_runs(self, runs: dict[str, tuple[Any, ...]], tasks: dict[tuple[str, int], TaskSeen]) -> None:
        by_run: dict[str, dict[int, TaskSeen]] = defaultdict(dict)
        for task in tasks.values():
            by_run[task.run][task.n] = task
        keys = {(row[1], row[2]) for row in runs.values()}
        if len(keys) != len(runs):
            self._violate("two runs have one key")
        for run, _, _, state, count, unfinished, failed, cancelled, finished_at in runs.values():
            own = by_run[run]
            wanted = (
                len(own),
                sum(task.state not in FINAL for task in own.values()),
                sum(task.state in COUNTS_AS_FAILED for task in own.values()),
                sum(task.state in COUNTS_AS_CANCELLED for task in own.values()),
            )
            if (count, unfinished, failed, cancelled) != wanted:
                self._violate(f"the run {run} counts {(count, unfinished, failed, cancelled)}, its tasks {wanted}")
            done = state in FINAL_RUNS
            if state != "accepted" and (done != (unfinished == 0) or done != (finished_at is not None)):
                self._violate(f"the run {run} is {state} with {unfinished} tasks unfinished")
            self._check_needs(run, own)

    def _check_needs(self, run: str, own: dict[int, TaskSeen]) -> None:
        if own and run not in self._needs:
            rows = self._disk.connection.execute("SELECT upstream, n FROM needs WHERE run = ?", (run,))
            self._needs[run] = rows.fetchall()
        unmet: dict[int, int] = defaultdict(int)
        for upstream, n in self._needs.get(run, ()):
            unmet[n] += own[upstream].state is not State.SUCCEEDED
        for task in own.values():
            if task.state not in FINAL and task.unmet != unmet[task.n]:
                self._violate(f"the task {run}/{task.n} counts {task.unmet} needs unmet; {unmet[task.n]} are")
            if task.state not in FINAL and task.state is not State.WAITING and task.unmet:
                self._violate(f"the task {run}/{task.n} is {task.state} before what it needs")

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────

    def unfinished(self) -> list[str]:
        """Name the accepted runs that are not final, with their tasks."""
        found = []
        for run in sorted(set(self._runs) | set(self.accepted.values())):
            row = self._runs.get(run)
            if row is None or row[3] not in FINAL_RUNS:
                own = [f"{t.n}:{t.state}#{t.attempt}@{t.worker}" for t in self._tasks.values() if t.run == run]
                found.append(f"{run} {row[3] if row else 'missing'} {own}")
        return found

    def held(self) -> list[str]:
        """Name the runs with tasks that wait for a person."""
        return sorted(
            {task.run for task in self._tasks.values() if task.state is State.UNREACHABLE and task.due_at is None}
        )

    def state_of(self, run: str) -> str | None:
        row = self._runs.get(run)
        return None if row is None else row[3]

    def left_over(self) -> dict[str, int]:
        """Count what should be empty in the end."""
        tables = ("outbox", "intents", "parked")
        return {table: count for table in tables if (count := self._one(f"SELECT count(*) FROM {table}"))}

    def uneven(self, schedulers: list[str]) -> dict[str | None, int]:
        """Count the shards of each owner, unless these own all of them, each as many as the others."""
        rows = self._disk.connection.execute("SELECT owner, count(*) FROM shards GROUP BY owner").fetchall()
        owned = dict.fromkeys(schedulers, 0) | dict(rows)
        even = owned.keys() == set(schedulers) and max(owned.values()) - min(owned.values()) <= 1
        return {} if even else owned

    def known(self, owner: str, key: str) -> bool:
        return bool(self._one("SELECT count(*) FROM runs WHERE owner = ? AND key = ?", owner, key))

    def _one(self, query: str, *values: Any) -> int:
        count: int = self._disk.connection.execute(query, values).fetchone()[0]
        return count

    def _violate(self, sentence: str) -> None:
        self._loop.violate(sentence)


def _seen(row: tuple[Any, ...]) -> TaskSeen:
    return TaskSeen(row[0], row[1], State(row[2]), *row[3:])
