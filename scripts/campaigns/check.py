"""The check: reads a history, and says what was lost, doubled, stuck or unexpected.

    lost        accepted, and without an end when the campaign was over
    doubled     two runs for one key; an attempt that started twice; a `once` call that started more often than it was
                tried; a result that is not that of the attempt which the store says it is
    stuck       a task that is open in a run that has ended; a process of a job that nobody owns any more
    unexpected  an end other than it should be; a submission that was never answered; a row that contradicts another
    late        a figure beyond its limit, each a trial of its own

A task whose worker was killed three times is quarantined as poison, and its run fails: that is as promised, and is
counted beside. So it must have had three attempts.

With no failure in N trials, the share of failures is below 3/N with 95 % certainty.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .history import Line, read

_POISON = 3
"""How many attempts a task must have had to be poison."""

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "upstream_failed", "skipped"})


@dataclass(slots=True)
class Verdict:
    """What a history says."""

    campaign: str = ""
    seed: int = 0
    runs: int = 0
    tasks: int = 0
    trials: int = 0
    anew: int = 0
    """Tasks that needed more than one attempt: without any, nothing was put to the test."""
    ran_on: int = 0
    """Attempts that still worked when the next one had begun: a paused host may run on briefly after it wakes."""
    poisoned: int = 0
    """Tasks whose workers were killed three times: they are quarantined, as they should be."""
    strays: int = 0
    """Late and strange reports that were kept as evidence and not applied."""
    found: dict[str, list[str]] = field(
        default_factory=lambda: {kind: [] for kind in ("lost", "doubled", "stuck", "unexpected", "late")}
    )
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    limits: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failures(self) -> int:
        return sum(len(some) for some in self.found.values())

    @property
    def bound(self) -> float | None:
        """With 95 % certainty, the share of trials that fail is below this; None: some failed, or none was made."""
        return min(1.0, 3 / self.trials) if self.trials and not self.failures else None

    def line(self) -> dict[str, Any]:
        """Return it for the one line of JSON."""
        figures = {
            name: {"n": len(some), "p50": _at(some, 0.5), "max": _at(some, 1.0), "limit": self.limits.get(name)}
            for name, some in self.figures.items()
        }
        return {
            "campaign": self.campaign,
            "seed": self.seed,
            "trials": self.trials,
            **{kind: len(some) for kind, some in self.found.items()},
            "bound_95": None if self.bound is None else round(self.bound, 5),
            "runs": self.runs,
            "tasks": self.tasks,
            "placed_anew": self.anew,
            "ran_on": self.ran_on,
            "poisoned": self.poisoned,
            "strays": self.strays,
            "figures": figures,
            "seconds": round(self.seconds, 1),
        }

    def table(self) -> str:
        """Return it for people."""
        bound = "-" if self.bound is None else f"{100 * self.bound:.2g} %"
        rows = [("trials", f"{self.trials}"), *((kind, f"{len(some)}") for kind, some in self.found.items())]
        rows += [("failures below (95 %)", bound), ("runs, tasks", f"{self.runs:,}, {self.tasks:,}")]
        rows += [("tasks placed anew", f"{self.anew:,}"), ("of which ran on meanwhile", f"{self.ran_on:,}")]
        rows += [("quarantined as poison", f"{self.poisoned:,}")]
        rows += [("late reports, not applied", f"{self.strays:,}")]
        for name, some in self.figures.items():
            limit = f", at most {self.limits[name]:g}" if name in self.limits else ""
            rows.append((name, f"p50 {_at(some, 0.5):g}, max {_at(some, 1.0):g} of {len(some)}{limit}"))
        rows.append(("seconds", f"{self.seconds:.0f}"))
        width = max(len(name) for name, _ in rows)
        title = f"{self.campaign}, seed {self.seed}"
        return "\n".join([title, "-" * len(title), *(f"{name:<{width}}  {value}" for name, value in rows)])


def check(path: Path) -> Verdict:
    """Read a history and judge it."""
    judge = _Judge()
    for line in read(path):
        judge.hear(line)
    judge.conclude()
    return judge.verdict


class _Judge:
    def __init__(self) -> None:
        self.verdict = Verdict()
        self._expected: dict[str, list[str]] = {}
        self._runs: dict[str, set[str]] = defaultdict(set)
        self._starts: Counter[tuple[str, str, str, int]] = Counter()
        self._stored: dict[str, Line] = {}
        self._began: dict[tuple[str, str, int], float] = {}
        self._ended: dict[tuple[str, str, int], float] = {}
        self._single = False
        self._over = False
        self._first_s: float | None = None

    def hear(self, line: Line) -> None:
        if self._first_s is None:
            self._first_s = line["at"]
        heed = getattr(self, f"_on_{line['what']}", None)
        if heed is not None:  # faults and mails are for people
            heed(line)

    def _on_campaign(self, line: Line) -> None:
        self.verdict.campaign, self.verdict.seed = line["name"], line["seed"]
        self._single = line.get("single", False)

    def _on_submitted(self, line: Line) -> None:
        self._expected[line["key"]] = line["expected"]

    def _on_accepted(self, line: Line) -> None:
        self._runs[line["key"]].add(line["run"])

    def _on_start(self, line: Line) -> None:
        self._starts[line["kind"], line["run"], line["task"], line["attempt"]] += 1
        self._began.setdefault((line["run"], line["task"], line["attempt"]), line["at"])

    def _on_end(self, line: Line) -> None:
        self._ended[line["run"], line["task"], line["attempt"]] = line["at"]

    def _on_over(self, line: Line) -> None:
        self.verdict.trials += line.get("trials", 1)

    def _on_wrong(self, line: Line) -> None:
        self.verdict.found[line.get("kind", "unexpected")].append(line["text"])

    def _on_stored(self, line: Line) -> None:
        self._stored[line["run"]] = line

    def _on_strays(self, line: Line) -> None:
        self.verdict.strays = line["count"]

    def _on_ended(self, line: Line) -> None:
        self._over = True
        self.verdict.seconds = line["at"] - (self._first_s or 0.0)

    def _on_figure(self, line: Line) -> None:
        name, value, limit = line["name"], line["value"], line.get("limit")
        about = f"{name} of {line.get('target', '?')}"
        if limit is not None:
            self.verdict.limits[name] = limit
        if value is None:
            self.verdict.found["late"].append(f"{about}: never seen")
            return
        self.verdict.figures[name].append(value)
        if limit is not None and value > limit:
            self.verdict.found["late"].append(f"{about}: {value:g}, at most {limit:g}")

    def conclude(self) -> None:
        found = self.verdict.found
        if not self._over:
            found["unexpected"].append("the history has no end: the campaign was stopped, and nothing was audited")
        self.verdict.runs = len(self._runs)
        for key, expected in self._expected.items():
            runs = self._runs.get(key, set())
            if not runs:
                found["unexpected"].append(f"{key}: submitted and never answered")
            if len(runs) > 1:
                found["doubled"].append(f"{key} has {len(runs)} runs: {', '.join(sorted(runs))}")
            for run in runs:
                self._judge_run(key, run, expected)
        for (kind, run, task, attempt), times in self._starts.items():
            if kind == "job" and times > 1:
                found["doubled"].append(f"attempt {run}/{task}/{attempt} started {times} times")

        for (run, task, attempt), ended_s in self._ended.items():
            next_s = self._began.get((run, task, attempt + 1)) if attempt else None
            self.verdict.ran_on += next_s is not None and next_s < ended_s

    def _judge_run(self, key: str, run: str, expected: list[str]) -> None:
        found, row = self.verdict.found, self._stored.get(run)
        if row is None:
            found["lost"].append(f"{key}: run {run} was accepted and is not in the store")
            return
        if row["state"] not in FINAL:
            tasks = "; ".join(f"{name} {state}" for name, _, state, *_ in row["tasks"][:4]) or "not taken up"
            found["lost"].append(f"{key}: run {run} is {row['state']}: {tasks}")
            return
        poisoned = [task for task in row["tasks"] if task[5] == "poison" and task[3] >= _POISON]
        self.verdict.poisoned += len(poisoned)
        if row["state"] not in (*expected, "failed" if poisoned else ""):
            found["unexpected"].append(f"{key}: run {run} is {row['state']}; it should be {' or '.join(expected)}")
        for task in row["tasks"]:
            self._judge_task(run, task, row["n"])

    def _judge_task(self, run: str, task: list[Any], n: int) -> None:
        found = self.verdict.found
        name, kind, state, attempt, output, _ = task
        self.verdict.tasks += 1
        self.verdict.anew += attempt > 1
        if self._single and attempt > 1:
            found["doubled"].append(f"{run}/{name} was taken from a worker that lived: it has {attempt} attempts")
        if state not in FINAL:
            found["stuck"].append(f"{run}/{name} is {state} in a run that has ended")
        if state != "succeeded":
            return
        if kind == "job" and output != attempt:
            found["doubled"].append(f"{run}/{name}: attempt {attempt} has the result of attempt {output}")
        if kind == "call" and output != _right(name, n):
            found["unexpected"].append(f"{run}/{name} has the result {output}; {_right(name, n)} is right")
        if name in ("fourfold", "long") and kind == "call" and self._starts["call", run, name, 0] > attempt:
            times = self._starts["call", run, name, 0]
            found["doubled"].append(f"the call {run}/{name} started {times} times in {attempt} attempts")


def _right(name: str, n: int) -> int:
    """Return the right result of a call; see `load`."""
    if name in ("double", "long"):
        return 2 * n
    if name == "fourfold":
        return 4 * n
    return 2 if name == "after" else 2 * int(name.removeprefix("t"))


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)
