"""Release: which ready tasks become orders now, in what parcels, and on which queue.

Light tasks without constraints take the shared lane of their kind. A task of more than one slot, or whose run works at
one of several sites, or that a worker died of, is matched to one worker's queue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import lru_cache

from warrener.broker import Message
from warrener.ids import WorkerName, new_token
from warrener.matching import LONG, Place, bundle_size, choose, credit
from warrener.messages import Kind, Orders
from warrener.ordering import TOP
from warrener.signing import HEADER
from warrener.states import Move
from warrener.store import TaskRow
from warrener.topology import ORDERS

from .book import Lane
from .endings import expected_end
from .fleet import MISSED, Worker
from .handlers import SITE_BOUND
from .paths import expected_s
from .policies import policy_of
from .suspicion import is_suspect, without_suspects
from .tick import Tick
from .window import Window

_LONG_S = LONG.total_seconds()

MAX_BUNDLE_BYTES = 512 * 1024
"""How large the sections of a bundle are together, as JSON in ASCII; a message may have twice as much."""

MAX_PASSED_OVER = 200
"""How many tasks that cannot be placed now are passed over for others behind them."""


def release(tick: Tick) -> None:
    """Order as many ready tasks of each lane as its workers can start."""
    for lane, window in tick.book.windows.items():
        workers = tick.book.fleet.of_lane(lane, tick.now) if len(window) else []
        if workers:
            _release_lane(tick, lane, window, workers)


def _release_lane(tick: Tick, lane: str, window: Window, workers: Sequence[Worker]) -> None:
    load = tick.book.lanes[lane]
    whole = sum(worker.slots for worker in workers) + tick.book.fleet.taken_beyond(lane, tick.book.used, tick.now)
    slots = tick.book.peers.share(lane, whole, load.in_flight + len(window), tick.now)
    sites = {worker.site for worker in workers}
    alone: list[TaskRow] = []
    shared: list[TaskRow] = []
    passed_over: list[TaskRow] = []
    free = credit(slots=slots, in_flight=load.in_flight, per_second=load.per_second)
    while len(passed_over) < MAX_PASSED_OVER:
        row = window.pop() if free > 0 else None
        if row is None:
            break
        if tick.book.is_aside(row.ref, tick.now):
            continue
        tick.doing = row.ref
        seconds = expected_s(tick.book.history, row)  # raises here, where the row is known, if the store has nonsense
        long = seconds is not None and seconds >= _LONG_S
        if long and load.in_flight >= slots and not _may_go_ahead(tick, load, slots):
            passed_over.append(row)
            break
        site = _site(tick, row)
        died = row.ref in tick.book.deaths
        if row.weight == 1 and not died and (site is None or sites == {site}):
            _order(tick, row, None, seconds if long else None)
            (alone if long else shared).append(row)
            free -= 1
            continue
        able = without_suspects(tick, workers) if died and is_suspect(tick, row) else workers
        place = choose(_places(tick, able), weight=row.weight, site=site)
        if place is None:
            passed_over.append(row)
            continue
        _order(tick, row, WorkerName(place.worker), seconds if long else None)
        free -= row.weight
        _send(tick, [row], f"worker.{place.worker}")
    tick.doing = None
    window.put_back(passed_over)
    for row in alone:
        _send(tick, [row], lane)
    for bundle in _bundles(shared, load, len(workers)):
        _send(tick, bundle, lane)


def _site(tick: Tick, row: TaskRow) -> str | None:
    return tick.book.sites.get(row.run) if Kind(row.kind) in SITE_BOUND else None


def _places(tick: Tick, workers: Sequence[Worker]) -> Iterator[Place]:
    """Return the workers that are heard, with what they hold for us and for other schedulers."""
    elsewhere = tick.book.peers.used(tick.now)
    for worker in workers:
        if not tick.book.fleet.is_heard(worker.name, tick.now):
            continue
        used = tick.book.used.get(worker.name, 0) + elsewhere.get(worker.name, 0)
        doubted = tick.book.fleet.is_doubted(worker.name, tick.now)
        yield Place(worker.name, worker.site, worker.slots, used, doubted)


def _may_go_ahead(tick: Tick, load: Lane, slots: int) -> bool:
    """Tell whether a long task is ordered though no slot is free: then it goes before what comes, however urgent."""
    ending = load.endings.soon(tick.now, tick.book.in_flight)
    return credit(slots=slots, in_flight=load.in_flight, per_second=load.per_second, ending=ending) > 0


def _order(tick: Tick, row: TaskRow, worker: WorkerName | None, long_s: float | None) -> None:
    """Order a task; `long_s`: how long it will probably run, if that is long."""
    timeout = tick.rules.order_timeout
    due_at = tick.now + (timeout if worker is None else min(timeout, MISSED))
    if long_s is not None:
        load = tick.book.lanes[row.lane]
        load.endings.expect(row.ref, expected_end(tick.now, long_s), tick.book.in_flight, load.in_flight)
    tick.move(
        row, Move.ORDER, attempt=row.attempt + 1, worker=worker, boot=None, ordered_at=tick.now, started_at=None,
        due_at=due_at,
    )  # fmt: skip


def is_direct(row: TaskRow) -> bool:
    """Tell whether a worker may start this without a claim."""
    return row.kind == Kind.CALL and row.weight == 1 and row.worker is None and not policy_of(row.policy).once


def _bundles(rows: Sequence[TaskRow], load: Lane, workers: int) -> Iterator[list[TaskRow]]:
    """Parcel the orders of a lane: claimed ones and the urgent travel alone, direct ones as `bundle_size` says."""
    light = [row for row in rows if is_direct(row) and row.level != TOP]
    chosen = {id(row) for row in light}
    for row in rows:
        if id(row) not in chosen:
            yield [row]
    size = bundle_size(orders=len(light), workers=workers, mean=timedelta(seconds=load.mean_s))
    bundle: list[TaskRow] = []
    weighs = 0
    for row in light:
        if bundle and (len(bundle) == size or weighs + len(row.section) > MAX_BUNDLE_BYTES):
            yield bundle
            bundle, weighs = [], 0
        bundle.append(row)
        weighs += len(row.section)
    if bundle:
        yield bundle


def _send(tick: Tick, rows: Sequence[TaskRow], lane: str) -> None:
    direct = is_direct(rows[0])
    body = write_orders(tick, rows, claim=not direct)
    tick.out.order(
        rows[0].shard,
        Message(
            exchange=ORDERS,
            routing_key=lane,
            kind=Orders.KIND,
            body=body,
            message_id=new_token(tick.rules.rng),
            priority=max(row.priority for row in rows),
            headers={HEADER: tick.rules.keys.signer.sign(body)},
        ),
    )


def write_orders(tick: Tick, rows: Sequence[TaskRow], *, claim: bool) -> bytes:
    """Write the body of an `orders/1` message; sections are JSON already and go in as they are."""
    orders = ",".join(_order_json(tick, row, claim=claim) for row in rows)
    issued_at = tick.now.isoformat()
    flag = "true" if claim else "false"
    home = min(tick.book.epochs)  # any of ours would do; all orders name the same one
    head = f'"kind":"{Orders.KIND}","issued_at":"{issued_at}","claim":{flag},"home":{home}'
    return f'{{{head},"orders":[{orders}]}}'.encode()


def _order_json(tick: Tick, row: TaskRow, *, claim: bool) -> str:
    same = _same_for_many(
        row.name, row.workflow, row.kind, row.priority, row.weight, row.policy, tick.rules.lease_of(row)
    )
    token = ""
    if not claim:
        token = f',"token":"{tick.rules.keys.claims.direct_token(row.attempt_ref, row.lane.removeprefix("call."))}"'
    return f'{{"run":"{row.run}","n":{row.n},"attempt":{row.attempt}{token},{same},"body":{row.section}}}'


@lru_cache(maxsize=4096)
def _same_for_many(  # noqa: PLR0917 - what tasks of the same definition have in common
    name: str, workflow: str, kind: str, priority: int, weight: int, policy: str, lease: timedelta
) -> str:
    """Write the fields of an order that the tasks of many runs share."""
    rules = policy_of(policy)
    fields = {
        "task_name": name, "workflow": workflow, "task_kind": kind, "priority": priority, "weight": weight,
        "on_lost": rules.on_lost, "timeout_s": rules.timeout_s, "lease_s": lease.total_seconds(),
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":"))[1:-1]
