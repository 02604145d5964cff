"""The trial: a client submits runs while containers are killed, frozen and cut off; then every run is accounted for.

Three accounts must agree: what the client heard, what the jobs noted on the site when they started, and what stands in
the database.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from random import Random, SystemRandom

from .engine import ROOT, Engine, StackError
from .faults import Fault, FaultKind, faults, inflict, undo_all

_COUNTED = {
    "runs": "runs",
    "unfinished": "runs WHERE state NOT IN ('succeeded', 'failed', 'cancelled')",
    "succeeded": "runs WHERE state = 'succeeded'",
    "failed": "runs WHERE state = 'failed'",
    "cancelled": "runs WHERE state = 'cancelled'",
    "tasks": "tasks",
    "again": "attempts",
    "strays": "strays",
    "parked": "parked",
}
"""What is asked of the database. An attempt has a row of its own once another followed it."""
_WELL_WITHIN_S = 120.0
_ANSWERS_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a trial does. `timeout_s` is when what has not ended counts as stuck."""

    runs: int
    rate: float
    most_faults: int
    timeout_s: float
    seed: int
    short: bool


@dataclass(slots=True)
class Outcome:
    """What came of a trial. `client` is the client's account, `stored` what the database says of the same runs."""

    done: list[Fault] = field(default_factory=list)
    client: dict[str, float] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0


def trial(engine: Engine, plan: Plan) -> Outcome:
    """Try the stack, which must be up and well; brings back at the end whatever was down."""
    outcome, begun = Outcome(), time.monotonic()
    containers, before = engine.containers(), _stored(engine)
    _remove(engine, _client_name(engine))
    with tempfile.TemporaryFile("w+") as told:
        client = subprocess.Popen(_client(engine, plan), cwd=ROOT, stdout=told, stdin=subprocess.DEVNULL)
        try:
            _trouble(engine, plan, client, outcome)
            client.wait(timeout=plan.timeout_s + _WELL_WITHIN_S)
        except subprocess.TimeoutExpired:
            outcome.complaints.append("the client did not come to its end")
        finally:
            undo_all(engine, containers)
            _remove(engine, _client_name(engine))
            client.wait()
        told.seek(0)
        outcome.client = _last_line(told.read())
    engine.wait_until_well(_WELL_WITHIN_S, lambda _: None)
    after = _stored(engine)
    outcome.stored = {name: after[name] - before[name] for name in after}
    outcome.seconds = time.monotonic() - begun
    outcome.complaints += _complaints(plan, outcome, client.returncode)
    return outcome


def _client(engine: Engine, plan: Plan) -> list[str]:
    """Return the command of the orchestrator, in a container of its own that no fault meets."""
    ledger = f"/site/ledger-{SystemRandom().randrange(10**9)}"
    return engine.composed(
        "run", "--rm", "-T", "--no-deps", "--name", _client_name(engine), "orchestrator",
        "--on", "settings", "--whole", "--ledger", ledger, "--runs", str(plan.runs), "--rate", str(plan.rate),
        "--seed", str(plan.seed), "--timeout", str(plan.timeout_s), "--slow-s", "5", "--cancel", "0.03",
    )  # fmt: skip


def _client_name(engine: Engine) -> str:
    return f"{engine.project}-orchestrator"


def _remove(engine: Engine, name: str) -> None:
    with suppress(StackError):  # mostly it is gone
        engine.docker("rm", "-f", name)


def _trouble(engine: Engine, plan: Plan, client: subprocess.Popen[bytes], outcome: Outcome) -> None:
    """Inflict one fault after the other while the client has open runs."""
    services = [name for name in engine.services() if name != "mail"]
    for fault in islice(faults(services, Random(plan.seed), short=plan.short), plan.most_faults):
        with suppress(subprocess.TimeoutExpired):
            client.wait(timeout=fault.after_s)
        if client.poll() is not None:
            return
        print(f"  {len(outcome.done) + 1:3}  {fault}", file=sys.stderr)
        inflict(engine, fault)
        outcome.done.append(fault)


def _stored(engine: Engine) -> dict[str, int]:
    """Ask the database, from inside its container."""
    database = engine.containers()["database"].id
    sql = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {where}" for name, where in _COUNTED.items())  # noqa: S608 - ours
    give_up = time.monotonic() + _ANSWERS_WITHIN_S
    while True:
        try:
            said = engine.docker("exec", database, "psql", "-qAtX", "-U", "warrener", "-d", "warrener", "-c", sql)
        except StackError:
            if time.monotonic() > give_up:
                raise
            time.sleep(1.0)
        else:
            return {name: int(count) for name, count in (line.split("|") for line in said.split())}


def _last_line(said: str) -> dict[str, float]:
    lines = [line for line in said.splitlines() if line.startswith("{")]
    found: dict[str, float] = json.loads(lines[-1]) if lines else {}
    return found


def _complaints(plan: Plan, outcome: Outcome, code: int) -> list[str]:
    """Return a sentence for every sum that does not meet."""
    client, stored, said = outcome.client, outcome.stored, []
    if not client:
        return [f"the client gave no account (exit code {code})"]
    if code:
        said.append("the client's own account does not meet; its sentences are above")
    if client["accepted"] != plan.runs:
        said.append(f"{client['accepted']} of {plan.runs} runs were accepted")
    if stored["runs"] != plan.runs:
        said.append(f"the database has {stored['runs']} runs; {plan.runs} were asked for")
    said += [f"{stored['unfinished']} runs are stuck in the database"] * bool(stored["unfinished"])
    said += [f"{stored['parked']} messages were parked"] * bool(stored["parked"])
    for state in ("succeeded", "failed", "cancelled"):
        if client[state] != stored[state]:
            said.append(f"the client counts {client[state]} {state} runs, the database {stored[state]}")
    return said


def table(outcome: Outcome) -> str:
    """Write the outcome for people."""
    kinds = list(FaultKind)
    counted = Counter((fault.kind, fault.service.rstrip("-12")) for fault in outcome.done)
    services = sorted({service for _, service in counted})
    rows: list[tuple[object, ...]] = [("faults", *kinds)]
    rows += [(f"  {service}", *(counted[kind, service] or "" for kind in kinds)) for service in services]
    rows += [("  all", *(sum(fault.kind is kind for fault in outcome.done) for kind in kinds)), ()]
    rows += [("runs", "client", "database")]
    rows += [(f"  {name}", outcome.client.get(heard, "?"), outcome.stored.get(kept, "")) for name, heard, kept in _ROWS]
    rows += [(), ("tasks", "", outcome.stored["tasks"])]
    rows += [(f"  {says}", "", outcome.stored[name]) for name, says in _TASK_ROWS.items()]
    return "\n".join([*map(_row, rows), "", f"in {outcome.seconds:.0f} s"])


_ROWS = (
    ("accepted", "accepted", "runs"),
    ("succeeded", "succeeded", "succeeded"),
    ("failed", "failed", "failed"),
    ("cancelled", "cancelled", "cancelled"),
    ("stuck", "lost", "unfinished"),
    ("doubled", "doubled", ""),
)
_TASK_ROWS = {"again": "attempts placed again", "strays": "late reports kept", "parked": "messages parked"}


def _row(cells: Sequence[object]) -> str:
    first, *more = cells or ("",)
    return (f"{first:<25}" + "".join(f"{cell:>10}" for cell in more)).rstrip()
