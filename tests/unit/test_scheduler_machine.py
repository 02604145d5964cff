"""Whatever comes, in whatever order, late, doubled or forged: the book agrees with the store, and every run ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from desk import Desk, Hand, call, job
from warrener.broker import Delivery
from warrener.errors import Cause
from warrener.ids import AttemptRef, RunId, TaskRef
from warrener.messages import (
    AttemptPart,
    Body,
    CancelRuns,
    Grant,
    Kind,
    Members,
    MemberSeen,
    Outcome,
    RunRequest,
)
from warrener.runs import FINAL as FINAL_RUNS
from warrener.runs import RunState
from warrener.states import FINAL, State
from warrener.store import Changes

WORKFLOWS: list[dict[str, Any]] = [
    {"a": call(retry={"count": 1, "delay": "5s"})},
    {"a": job(), "b": call(args={"x": "{{ tasks.a.output }}"}), "c": job(needs=["a"])},
    {"a": call(), "b": call(), "c": call(once=True, needs=["a", "b"]), "d": job(needs=["c"], weight=3)},
    {"a": job(on_lost="hold"), "b": job(on_lost="fail"), "c": call(needs=["a"])},
    {"a": call(grace="30s", priority=9), "b": call(args={"x": "{{ tasks.a.output.x }}"})},
    {"a": job(lease="2m", retry=2, deadline="1m")},
]
PICK = st.integers(0, 1_000_000)
OUTCOMES = st.sampled_from([*[Outcome.SUCCEEDED] * 3, Outcome.FAILED, Outcome.FAILED, Outcome.CANCELLED])
CAUSES = {Outcome.SUCCEEDED: None, Outcome.FAILED: Cause.EXIT, Outcome.CANCELLED: Cause.CANCELLED}


class Crash(Exception):
    """The process dies in the middle of a transaction."""


class SchedulerMachine(RuleBasedStateMachine):
    """An engine among workers that crash, lie and repeat themselves."""

    @initialize(seed=PICK)
    def begin(self, seed: int) -> None:
        self.desk = Desk(seed=seed)
        self.crew = [
            Hand("call-a", slots=3), Hand("call-b", slots=2), Hand("job-a", Kind.JOB, slots=3),
            Hand("job-b", Kind.JOB, slots=4, site="other"), Hand("job-a", Kind.JOB, slots=3, boot="b2"),
        ]  # fmt: skip
        self.past: list[Delivery] = []
        self.keys = 0
        self.ended: dict[TaskRef, tuple[State, int, str | None]] = {}
        self.reopened: set[RunId] = set()
        self.desk.hire(*self.crew[:4])

    def teardown(self) -> None:
        if not hasattr(self, "desk"):
            return
        try:
            self._drain()
        finally:
            self.desk.close()

    # ── what may happen ──────────────────────────────────────────────────────────────────────────────────────

    def say(self, *bodies: Body) -> None:
        deliveries = [self.desk.delivery(body) for body in bodies]
        self.past += deliveries
        self.desk.deliver(*deliveries)

    @rule(which=PICK, priority=st.none() | st.integers(0, 9))
    def submit(self, which: int, priority: int | None) -> None:
        self.keys += 1
        request = RunRequest(key=str(self.keys), priority=priority)
        self.say(self.desk.ask(WORKFLOWS[which % len(WORKFLOWS)], request))

    @rule(orders=st.lists(PICK, min_size=1, max_size=3), who=PICK)
    def claim(self, orders: list[int], who: int) -> None:
        if self.desk.orders:
            self.say(self.crew[who % len(self.crew)].claim(*(self._pick(self.desk.orders, one) for one in orders)))

    @rule(which=PICK)
    def claim_the_newest(self, which: int) -> None:
        orders = [order for order in self.desk.orders[-4:] if order.token is None]
        if orders:
            order = self._pick(orders, which)
            able = [hand for hand in self.crew if hand.kind is order.task_kind]
            self.say(self._pick(able, which).claim(order))

    @rule(which=PICK, outcome=OUTCOMES, output=st.sampled_from([None, 1, {"x": 2}]))
    def report_what_was_granted(self, which: int, outcome: Outcome, output: Any) -> None:
        grants = [(hand, grant) for hand in self.crew for grant in hand.grants[-4:]]
        if grants:
            hand, grant = self._pick(grants, which)
            self.say(hand.report(grant, outcome, cause=CAUSES[outcome], output=output))

    @rule(which=PICK, outcome=OUTCOMES, output=st.sampled_from([None, 1, {"x": 2}]))
    def report_a_direct_call(self, which: int, outcome: Outcome, output: Any) -> None:
        direct = [order for order in self.desk.orders[-8:] if order.token is not None]
        if direct:
            self.say(
                self.crew[which % 2].report(self._pick(direct, which), outcome, cause=CAUSES[outcome], output=output)
            )

    @rule(which=PICK, who=PICK)
    def forge(self, which: int, who: int) -> None:
        if self.desk.orders:
            order = self._pick(self.desk.orders, which)
            self.say(self.crew[who % len(self.crew)].report(order.model_copy(update={"token": "0" * 32})))

    @rule(who=PICK, holds=st.booleans(), state=st.sampled_from(["up", "up", "up", "draining", "leaving"]))
    def beat(self, who: int, holds: bool, state: str) -> None:
        hand = self.crew[who % len(self.crew)]
        self.say(hand.beat(*(hand.grants[-6:] if holds else []), state=state))

    @rule(who=PICK, status=st.sampled_from(["failed", "alive", "left"]), full=st.booleans())
    def gossip(self, who: int, status: Any, full: bool) -> None:
        name = self.crew[who % len(self.crew)].name
        self.say(Members(members=[MemberSeen(name=name, status=status)], full=full))

    @rule(seconds=st.sampled_from([0.5, 5, 20, 40, 70, 700]))
    def let_time_pass(self, seconds: float) -> None:
        self.desk.wait(seconds=seconds)

    @rule(which=PICK, by_message=st.booleans())
    def cancel(self, which: int, by_message: bool) -> None:
        runs = self.desk.all_runs()
        if runs and by_message:
            self.say(CancelRuns(owner="me", runs=[self._pick(runs, which)]))
        elif runs:
            self.desk.do(lambda tx: tx.write(Changes(wanted=[(self._pick(runs, which), "cancel", self.desk.now)])))

    @rule(which=PICK)
    def retry(self, which: int) -> None:
        runs = self.desk.all_runs()
        if runs:
            run = self._pick(runs, which)
            self.reopened.add(run)
            self.desk.do(lambda tx: tx.write(Changes(wanted=[(run, "retry", self.desk.now)])))

    @rule(which=st.lists(PICK, min_size=1, max_size=5))
    @precondition(lambda self: self.past)
    def say_it_again(self, which: list[int]) -> None:
        self.desk.deliver(*(self._pick(self.past, one) for one in which))

    @rule(which=st.lists(PICK, min_size=1, max_size=5))
    @precondition(lambda self: self.past)
    def say_it_again_under_new_ids(self, which: list[int]) -> None:
        old = [self._pick(self.past, one) for one in which]
        self.desk.deliver(*(self.desk.delivery(one.body, kind=one.kind) for one in old))

    @rule()
    def crash(self) -> None:
        self.desk.crash()

    @rule(which=st.lists(PICK, min_size=1, max_size=3))
    @precondition(lambda self: self.past)
    def crash_before_the_commit(self, which: list[int]) -> None:
        deliveries = [self.desk.delivery(one.body, kind=one.kind) for one in (self._pick(self.past, n) for n in which)]

        def die(tx: Any) -> None:
            self.desk.engine.tick(tx, deliveries, [], self.desk.now)
            raise Crash

        try:
            self.desk.do(die)
        except Crash:
            self.desk.crash()

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_book_agrees_with_the_store(self) -> None:
        if hasattr(self, "desk"):
            self.desk.check()

    @invariant()
    def an_attempt_has_one_holder(self) -> None:
        if hasattr(self, "desk"):
            holders: dict[AttemptRef, Hand] = {}
            for hand in self.crew:
                for grant in hand.grants:
                    assert holders.setdefault(grant.ref, hand) is hand

    @invariant()
    def what_ended_stays_ended(self) -> None:
        if not hasattr(self, "desk"):
            return
        for run in self.desk.all_runs():
            for row in self._tasks(run):
                now = (row.state, row.attempt, row.output)
                before = self.ended.get(row.ref, now)
                assert before == now or (run in self.reopened and before[0] is not State.SUCCEEDED)
                if row.state in FINAL:
                    self.ended[row.ref] = now
                else:
                    self.ended.pop(row.ref, None)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────

    def _drain(self) -> None:
        """Let honest workers do all that is asked for: every run must come to its end."""
        desk = self.desk
        desk.crash()
        desk.deliver(Members(members=[], full=True))
        honest = {kind: Hand(f"honest-{kind}", kind, slots=50) for kind in (Kind.CALL, Kind.JOB)}
        other = Hand("honest-other", Kind.JOB, slots=50, site="other")
        for _ in range(60):
            desk.now += timedelta(seconds=20)
            desk.hire(*honest.values(), other)
            for row in [row for run in desk.all_runs() for row in self._tasks(run)]:
                if row.attempt == 0:
                    continue
                part = AttemptPart(run=row.run, n=row.n, attempt=row.attempt)
                if row.boot is not None:  # who holds it is done
                    token = desk.rules.keys.claims.token(row.attempt_ref, row.worker, row.boot)
                    grant = Grant(**dict(part), token=token, seq=0)
                    desk.deliver(Hand(row.worker, Kind(row.kind), boot=row.boot).report(grant, output={"x": 1}))
                elif row.state is State.ORDERED:
                    desk.deliver(*(hand.claim(part) for hand in (*honest.values(), other) if hand.kind == row.kind))
            if all(desk.run(run).state in FINAL_RUNS for run in desk.all_runs()):
                break
        self.the_book_agrees_with_the_store()
        self.what_ended_stays_ended()
        for run in desk.all_runs():
            assert desk.run(run).state in FINAL_RUNS, {row.name: (row.state, row.due_at) for row in self._tasks(run)}
            last = [event.state for event in desk.events if event.run == run and event.n is None][-1]
            assert last == RunState(desk.run(run).state)
        desk.deliver()
        desk.deliver()
        assert desk.do(lambda tx: tx.mail.unsent(range(4), 10)) == []
        book = desk.engine.book
        assert not book.in_flight
        assert not book.ready
        assert not book.leases
        assert not book.sites

    def _tasks(self, run: RunId) -> Any:
        return self.desk.do(lambda tx: tx.tasks.of_run(run))

    def _pick(self, among: Any, number: int) -> Any:
        return among[number % len(among)]


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes; add Phase.shrink to look closer
)
