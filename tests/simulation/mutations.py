"""Rules broken on purpose: the checks must find each within a few hundred seeds, or they are worth little."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from simulation.broker import SimSubscription
from simulation.loop import LIFE
from warrener.errors import StoreUnavailable
from warrener.messages import Reports
from warrener.states import HELD, Move, State
from warrener.worker.leases import Leases
from warrener_services.scheduler import engine, handlers
from warrener_services.scheduler.rounds import Rounds

Patch = tuple[Any, str, Any]


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """Break one rule for a while; None breaks nothing."""
    patches = MUTATIONS[name]() if name is not None else []
    before = [(owner, what, _get(owner, what)) for owner, what, _ in patches]
    try:
        for owner, what, broken in patches:
            _set(owner, what, broken)
        yield
    finally:
        for owner, what, right in before:
            _set(owner, what, right)


def _grant_twice() -> Sequence[Patch]:
    """Grant a running attempt to whoever asks for it next."""
    right = handlers._refusal

    def refusal(tick: Any, message: Any, claim: Any) -> str | None:
        row = tick.book.in_flight.get(claim.task)
        if row is not None and row.attempt == claim.attempt and row.state in HELD:
            return None
        return right(tick, message, claim)

    return [(handlers, "_refusal", refusal)]


def _apply_late_reports() -> Sequence[Patch]:
    """Apply a report to whatever attempt of its task is in flight."""
    right = handlers.on_reports

    def on_reports(tick: Any, message: Any) -> None:
        def current(report: Any) -> Any:
            row = tick.book.in_flight.get(report.task)
            return report if row is None else report.model_copy(update={"attempt": row.attempt})

        right(tick, message.model_copy(update={"reports": [current(report) for report in message.reports]}))

    return [(engine._SIMPLE, Reports, on_reports), (handlers, "_proved", lambda *_: True)]


def _skip_the_workers_fence() -> Sequence[Patch]:
    """Work on although nobody extends the lease."""
    return [(Leases, "_lose_the_late", lambda self, lose: None)]


def _place_anew_too_early() -> Sequence[Patch]:
    """Let the owner's end of a lease come before the worker's."""
    early = -timedelta(seconds=7)
    return [(handlers, "LEASE_MARGIN", early), (engine, "LEASE_MARGIN", early)]


def _settle_before_the_commit() -> Sequence[Patch]:
    """Acknowledge what the scheduler takes as soon as it has it."""
    right = SimSubscription.take

    async def take(self: Any, limit: int) -> Any:
        deliveries = await right(self, limit)
        life = LIFE.get()
        if life is not None and life.name.startswith("scheduler"):
            await self._inner.settle(deliveries)
        return deliveries

    return [(SimSubscription, "take", take)]


def _keep_the_book_after_a_failure() -> Sequence[Patch]:
    """Go on with a book that is ahead of the store."""
    right = Rounds._tick

    async def tick(self: Any, deliveries: Any, thought: Any = None, **how: Any) -> None:
        try:
            await right(self, deliveries, thought, **how)
        except StoreUnavailable:
            return

    return [(Rounds, "_tick", tick)]


def _finish_what_is_lost() -> Sequence[Patch]:
    """Call an attempt succeeded when its lease runs out."""
    from warrener_services.scheduler import timers

    def lease(tick: Any, row: Any) -> None:
        if not timers._extended(tick, row) and row.state in (State.RUNNING, State.UNREACHABLE):
            tick.move(row, Move.SUCCEED, output="null")

    return [(timers, "_lease", lease)]


MUTATIONS: dict[str, Callable[[], Sequence[Patch]]] = {
    "grant-twice": _grant_twice,
    "apply-late-reports": _apply_late_reports,
    "skip-the-workers-fence": _skip_the_workers_fence,
    "place-anew-too-early": _place_anew_too_early,
    "settle-before-the-commit": _settle_before_the_commit,
    "keep-the-book-after-a-failure": _keep_the_book_after_a_failure,
    "finish-what-is-lost": _finish_what_is_lost,
}


def _get(owner: Any, what: Any) -> Any:
    return owner[what] if isinstance(owner, dict) else getattr(owner, what)


def _set(owner: Any, what: Any, value: Any) -> None:
    if isinstance(owner, dict):
        owner[what] = value
    else:
        setattr(owner, what, value)
