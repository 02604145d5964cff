"""What each message does within a tick: one function per kind.

Every handler is idempotent: the same message again, late, or out of order changes nothing that it should not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta

import structlog

from warrener.errors import Cause
from warrener.ids import shard_of
from warrener.messages import (
    MAX_OUTPUT_BYTES,
    AttemptPart,
    Body,
    Claim,
    Claims,
    EndedLife,
    Grant,
    Heartbeat,
    Json,
    Kind,
    Logs,
    Members,
    Outcome,
    Receipt,
    Refusal,
    Report,
    Reports,
    Stop,
)
from warrener.retries import next_delay
from warrener.signing import same_token
from warrener.states import HELD, Move, State
from warrener.store import Drain, LogPiece, Stray, TaskRow
from warrener.topology import orders

from .paths import learn
from .policies import policy_of
from .suspicion import heard_again, note_death
from .tick import Tick
from .troubles import note_failure, note_success

log = structlog.get_logger(__name__)

LEASE_MARGIN = timedelta(seconds=5)
"""How much longer than a lease the owner waits: the holder has stopped by itself this long before."""

SITE_BOUND = frozenset({Kind.ENV, Kind.STAGE, Kind.JOB})
"""The kinds whose tasks of one run must share a file system."""


def on_claims(tick: Tick, message: Claims) -> None:
    """Grant each attempt to the first that claims it; refuse it to everybody else."""
    told = tick.out.tell(message.worker, message.boot)
    foreign: list[Claim] = []
    for claim in message.claims:
        if not tick.owns(shard_of(claim.run)):
            foreign.append(claim)
            continue
        refusal = _refusal(tick, message, claim)
        if refusal is None:
            row = tick.book.in_flight[claim.task]
            if row.state is State.ORDERED:
                _grant(tick, row, message)
            else:  # granted again: the worker counts the lease from this claim
                tick.book.leases[row.ref] = tick.now + tick.rules.lease_of(row) + LEASE_MARGIN
            token = tick.rules.keys.claims.token(claim.ref, message.worker, message.boot)
            told.grants.append(Grant(run=claim.run, n=claim.n, attempt=claim.attempt, token=token, seq=message.seq))
        else:
            told.refusals.append(
                Refusal(run=claim.run, n=claim.n, attempt=claim.attempt, reason=refusal, seq=message.seq)
            )
    _forward(tick, message, "claims", foreign)


def _refusal(tick: Tick, message: Claims, claim: Claim) -> str | None:  # noqa: PLR0911 - a reason for each
    """Return why this worker may not have the attempt; None if it may, or has it."""
    row = tick.book.in_flight.get(claim.task)
    if row is None or row.attempt != claim.attempt:
        return "superseded"
    if row.state in HELD:
        mine = row.worker == message.worker and row.boot == message.boot
        return None if mine else "another worker holds it"
    if row.state is State.CANCELLING:
        if row.boot is None:
            tick.move(row, Move.CONFIRM_CANCEL, cause=Cause.CANCELLED)
        return "cancelled"
    if row.worker not in (None, message.worker):
        return "it was meant for another worker"
    if claim.token is None and (drain := _drain_of(tick, message)) is not None:
        tick.make_ready(row, Move.PLACE_ANEW)
        return f"{message.worker} is drained by {drain.by}"
    site = tick.book.sites.get(row.run)
    if Kind(row.kind) in SITE_BOUND and site not in (None, message.site):
        tick.make_ready(row, Move.PLACE_ANEW)
        return f"its run works at site {site}"
    return None


def _drain_of(tick: Tick, message: Claims) -> Drain | None:
    worker = tick.book.fleet.get(message.worker)
    return tick.book.fleet.limits.drain_of(message.worker, worker.host if worker else "")


def _grant(tick: Tick, row: TaskRow, message: Claims) -> None:
    due_at = tick.now + tick.rules.lease_of(row) + LEASE_MARGIN
    tick.book.leases.pop(row.ref, None)  # what a new owner gave the order
    tick.book.fleet.claimed(message.worker)
    tick.move(row, Move.GRANT, worker=message.worker, boot=message.boot, started_at=tick.now, due_at=due_at)
    if Kind(row.kind) in SITE_BOUND and row.run not in tick.book.sites:
        run = tick.run(row.run)
        if run is not None:
            run.site = tick.book.sites[row.run] = sys.intern(message.site)  # few, and of many runs


def on_reports(tick: Tick, message: Reports) -> None:
    """Apply each report whose attempt, holder and token match; keep the others as evidence."""
    unknown: list[Report] = []
    foreign: list[Report] = []
    for report in message.reports:
        if not tick.owns(shard_of(report.run)):
            foreign.append(report)
            continue
        row = tick.book.in_flight.get(report.task)
        if row is None or row.attempt != report.attempt:
            unknown.append(report)
        elif not _proved(tick, row, message, report):
            _stray(tick, message, report, "its token does not prove this attempt")
        else:
            if row.boot is not None:
                _receipt(tick, message, report, applied=True)
            apply_report(tick, row, report, message.worker)
    _judge_unknown(tick, message, unknown)
    _forward(tick, message, "reports", foreign)


def _proved(tick: Tick, row: TaskRow, message: Reports, report: Report) -> bool:
    keys = tick.rules.keys.claims
    if row.boot is None:
        return row.lane.startswith("call.") and same_token(
            report.token, keys.direct_token(report.ref, row.lane.removeprefix("call."))
        )
    assert row.worker is not None
    return row.worker == message.worker and same_token(report.token, keys.token(report.ref, row.worker, row.boot))


def apply_report(tick: Tick, row: TaskRow, report: Report, reporter: str) -> None:
    """Move a task as its worker's report says, and as its retry rule allows."""
    seconds = min(report.seconds, 1e9)
    tick.book.lanes[row.lane].finish(seconds)
    started_at = row.started_at or tick.now - timedelta(seconds=seconds)
    if report.outcome is Outcome.SUCCEEDED:
        output = _written(report.output)
        if len(output) <= MAX_OUTPUT_BYTES:
            learn(tick.book.history, row, seconds)
            note_success(tick, row, reporter)
            worker = row.worker if row.boot else None
            tick.move(
                row, Move.SUCCEED, started_at=started_at, output=output, exit_code=report.exit_code, cause=None,
                message=None, worker=worker,
            )  # fmt: skip
            return
        report = report.model_copy(
            update={
                "cause": Cause.ERROR,
                "message": f"its output has {len(output)} bytes; at most 65,536 are kept",
            }
        )
    row.started_at = started_at
    if report.cause is Cause.LOST and row.state in HELD and policy_of(row.policy).on_lost == "retry":
        tick.make_ready(row, Move.PLACE_ANEW)  # its lease ran out there before it did here
        return
    note_failure(tick, row, reporter, report)
    fail(tick, row, report.cause or Cause.ERROR, storable(report.message), report.exit_code)


def _written(output: Json) -> str:
    return "null" if output is None else json.dumps(output, separators=(",", ":"))


def fail(tick: Tick, row: TaskRow, cause: Cause, message: str, exit_code: int | None = None) -> None:
    """End an attempt badly: the task is tried again, or it has failed."""
    if row.state is State.CANCELLING:
        tick.move(row, Move.CONFIRM_CANCEL, cause=Cause.CANCELLED, message=message, exit_code=exit_code)
        return
    delay = next_delay(policy_of(row.policy).retry, row.tries + 1, cause, tick.rules.rng)
    if delay is None:
        tick.move(row, Move.FAIL, cause=cause, message=message, exit_code=exit_code, tries=row.tries + 1)
    else:
        tick.retry(row, delay, cause, message, exit_code)


def _judge_unknown(tick: Tick, message: Reports, reports: list[Report]) -> None:
    """Tell a duplicate (say so again) from a late or strange report (keep it); either way it is done with."""
    rows = tick.tx.tasks.load([report.task for report in reports])
    for report in reports:
        row = tick.recent(report.task) or rows.get(report.task)
        duplicate = row is not None and _was_applied(row, report)
        _receipt(tick, message, report, applied=duplicate)
        if not duplicate and _was_ours(tick, row, message, report):
            _stray(tick, message, report, "its attempt is over", receipt=False)


def _was_ours(tick: Tick, row: TaskRow | None, message: Reports, report: Report) -> bool:
    """Tell whether the reporter held this attempt once: only then is its word evidence, and worth keeping."""
    if row is None:
        return False
    keys = tick.rules.keys.claims
    held = same_token(report.token, keys.token(report.ref, message.worker, message.boot))
    return held or same_token(report.token, keys.direct_token(report.ref, row.lane.removeprefix("call.")))


def _was_applied(row: TaskRow, report: Report) -> bool:
    """Tell a report that ended its attempt, come again, from one that came too late to do so."""
    if row.attempt != report.attempt:
        return False
    if report.outcome is Outcome.SUCCEEDED:
        return row.state is State.SUCCEEDED
    return row.state in (State.FAILED, State.CANCELLED, State.WAITING) and row.cause not in (None, Cause.LOST)


def _receipt(tick: Tick, message: Reports, report: Report, *, applied: bool) -> None:
    receipt = Receipt(run=report.run, n=report.n, attempt=report.attempt, applied=applied)
    tick.out.tell(message.worker, message.boot).receipts.append(receipt)


def _stray(tick: Tick, message: Reports, report: Report, reason: str, *, receipt: bool = True) -> None:
    evidence = report.model_dump_json(exclude={"token"}, exclude_defaults=True)
    tick.strays.append(Stray(report.run, report.n, report.attempt, message.worker, reason, evidence[:16_384], tick.now))
    if receipt:
        _receipt(tick, message, report, applied=False)


def on_heartbeat(tick: Tick, beat: Heartbeat) -> None:
    """Know the worker, extend the leases that it proves to hold, and tell it what to stop."""
    _hear(tick, beat)
    extended: list[AttemptPart] = []
    for held in beat.attempts:
        if not tick.owns(shard_of(held.run)):
            continue
        row = tick.book.in_flight.get(held.task)
        if row is None or row.attempt != held.attempt or not _holds(tick, row, beat, held.token):
            tick.out.tell(beat.worker, beat.boot).stops.append(_not_yours(held))
            continue
        lease = tick.now + tick.rules.lease_of(row) + LEASE_MARGIN
        if row.state is State.UNREACHABLE:
            tick.move(row, Move.FIND, due_at=row.due_at or lease, message=None)
        if row.state is State.CANCELLING:
            tick.out.stop(row, "cancelled")
        tick.book.leases[row.ref] = lease
        extended.append(AttemptPart(run=held.run, n=held.n, attempt=held.attempt))
    if extended:
        tick.out.extend(beat.worker, beat.boot, beat.seq, extended)
    if beat.ended:
        _end_lives(tick, beat)


def _hear(tick: Tick, beat: Heartbeat) -> None:
    """Take in what a worker says of itself and of its lanes."""
    tick.book.fleet.hear(beat, tick.now)
    if tick.book.fleet.limits.doubted:
        tick.book.look_by(tick.now)
    if tick.book.deaths:
        heard_again(tick, beat.boot)
    for lost in beat.lost:
        tick.book.lost.add(orders(lost.lane).name, tick.now - timedelta(seconds=lost.ago_s))


def _end_lives(tick: Tick, beat: Heartbeat) -> None:
    """Place anew at once what lives of this worker held that are over; only a proof of such a life is believed."""
    over = {life.boot for life in beat.ended if _proves(tick, beat, life)}
    listed = {held.task for held in beat.attempts}
    for row in list(tick.book.in_flight.values()):
        if row.worker != beat.worker or row.boot not in over or row.ref in listed:
            continue
        if row.state is State.CANCELLING:
            tick.move(row, Move.CONFIRM_CANCEL, cause=Cause.CANCELLED)
        elif row.state not in HELD or policy_of(row.policy).on_lost != "retry":
            continue
        elif beat.state == "leaving" or not note_death(tick, row):
            tick.make_ready(row, Move.PLACE_ANEW)


def _proves(tick: Tick, beat: Heartbeat, life: EndedLife) -> bool:
    return same_token(life.token, tick.rules.keys.claims.token(life.ref, beat.worker, life.boot))


def _holds(tick: Tick, row: TaskRow, beat: Heartbeat, token: str) -> bool:
    if row.worker != beat.worker or row.boot is None:
        return False
    return same_token(token, tick.rules.keys.claims.token(row.attempt_ref, row.worker, row.boot))


def on_members(tick: Tick, message: Members) -> None:
    """Mark what a failed host holds as unreachable; its leases run on, and it may come back."""
    tick.book.fleet.gossip(message, tick.now)
    lost = tick.book.fleet.lost()
    if lost:
        for row in list(tick.book.in_flight.values()):
            if row.state is State.RUNNING and row.worker in lost:
                tick.move(row, Move.LOSE)


def on_logs(tick: Tick, message: Logs) -> None:
    """Keep what the holder of an attempt says that it printed."""
    for chunk in message.chunks:
        tick.owns(shard_of(chunk.run))
        row = tick.book.in_flight.get(chunk.task)
        if row is None or row.attempt != chunk.attempt:
            row = tick.tx.tasks.load([chunk.task]).get(chunk.task)
        if row is None or row.attempt != chunk.attempt or row.worker != message.worker or row.boot is None:
            continue
        if same_token(chunk.token, tick.rules.keys.claims.token(chunk.ref, row.worker, row.boot)):
            text = storable(chunk.text)
            tick.logs.append(LogPiece(chunk.run, chunk.n, chunk.attempt, chunk.stream, chunk.offset, text))


def storable(text: str) -> str:
    """Replace NUL, which PostgreSQL does not keep and programs do print."""
    return text.replace("\0", "�")


def _not_yours(held: AttemptPart) -> Stop:
    return Stop(run=held.run, n=held.n, attempt=held.attempt, reason="not yours")


def _forward(tick: Tick, message: Body, field: str, parts: Sequence[AttemptPart]) -> None:
    """Send parts of other owners' shards on to them."""
    by_shard: dict[int, list[AttemptPart]] = {}
    for part in parts:
        by_shard.setdefault(shard_of(part.run), []).append(part)
    for shard, some in by_shard.items():
        if shard >= tick.rules.shards:
            log.warning("dropped what names a shard that does not exist", shard=shard, kind=message.KIND)
            continue
        tick.out.forward(shard, message.model_copy(update={field: some}))
