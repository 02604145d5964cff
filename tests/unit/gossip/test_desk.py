"""An alert desk on virtual time, over a store in memory; who takes its letters is played by the test."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from desk import memory_engine
from owner import LoopClock, in_virtual_time
from warrener.alerts import Alert, AlertKind
from warrener.brokers.memory import MemoryBroker
from warrener.errors import StoreUnavailable
from warrener.letters import AlertFilter, AlertRow, Letter
from warrener.runtime.alerting import alert_message
from warrener.settings import Settings
from warrener.store import Changes
from warrener.stores.sql import Inline, SqlStore
from warrener_services.gossip.desk import AlertDesk, Limits
from warrener_services.gossip.folding import Content
from warrener_services.gossip.mailing import HandedOver, Verdict
from warrener_services.gossip.posting import Webhooks
from warrener_services.gossip.routes import read_routes
from warrener_services.gossip.trouble import Troubles, parts_seen_from

DEAD = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 does not answer")
BACK = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 is back", over=True)
SETTINGS = Settings(mail_to=("ada@example.org",), alert_window=timedelta(minutes=5))


def failed(n: int) -> Alert:
    return Alert(AlertKind.TASK_FAILED, f"run/{n}", f"{n} failed")


async def answer(verdict: Verdict) -> HandedOver:
    return HandedOver(verdict, "as the test says")


async def took() -> HandedOver:
    return await answer("sent")


class PostOffice:
    """Takes every mail, or does what a test says."""

    sender = "warrener@lab.example"

    def __init__(self) -> None:
        self.mails: list[tuple[float, EmailMessage]] = []
        self.act: Callable[[EmailMessage], Awaitable[HandedOver]] = lambda _: took()

    async def hand_over(self, mail: EmailMessage, recipient: str) -> HandedOver:
        self.mails.append((asyncio.get_running_loop().time(), mail))
        return await self.act(mail)

    @property
    def subjects(self) -> list[str]:
        return [mail["Subject"].removeprefix("[warrener] ") for _, mail in self.mails]

    @property
    def moments(self) -> list[float]:
        return [moment for moment, _ in self.mails]


class Office:
    """Desks that share a database and a post office."""

    def __init__(self) -> None:
        self.database = memory_engine()
        self.store = SqlStore(Inline(self.database))
        self.broker = MemoryBroker()
        self.post = PostOffice()
        self.clock = LoopClock()

    def desk(self, who: str = "desk-1", store: Any = None, settings: Settings = SETTINGS) -> AlertDesk:
        routes = read_routes(settings)
        return AlertDesk(
            store=store or self.store, broker=self.broker, clock=self.clock, rng=Random(who), who=who, routes=routes,
            servers=self.post, webhooks=Webhooks(settings, routes.webhooks),  # type: ignore[arg-type]
            troubles=Troubles(parts_seen_from("here")), limits=Limits(shards=4),
        )  # fmt: skip

    @asynccontextmanager
    async def working(self, *desks: AlertDesk) -> AsyncIterator[None]:
        running = [asyncio.create_task(desk.run()) for desk in desks]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            for task in running:
                with suppress(asyncio.CancelledError):
                    await task
            await self.broker.close()
            self.database.dispose()

    async def raised(self, *alerts: Alert) -> None:
        """Write alerts as a scheduler does."""
        await self.store.migrate(shards=4)
        await self.store.transact(lambda tx: tx.write(Changes(alerts=[(one, self.clock.now()) for one in alerts])))

    async def alerts(self) -> Sequence[AlertRow]:
        return await self.store.read(lambda tx: tx.alerts.list(AlertFilter()))

    async def letters(self) -> Sequence[Letter]:
        """Return what is not out yet."""
        return await self.store.read(lambda tx: tx.letters.waiting(self.clock.now() + timedelta(days=1), 100))


# ── alerts of others ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_test_that_comes_by_message_is_told_to_nobody() -> None:
    async def main() -> None:
        office = Office()
        async with office.working(office.desk()):
            await asyncio.sleep(5)
            test = Alert(AlertKind.TEST, "x", "a worker's")
            for message_id, alert in (("m1", test), ("m2", DEAD)):
                await office.broker.publish(alert_message(alert, office.clock.now(), message_id=message_id))
            await asyncio.sleep(60)
            assert office.post.subjects == ["Host failed: host-1"]
            assert [row.alert.kind for row in await office.alerts()] == [AlertKind.MEMBER_FAILED]

    in_virtual_time(main)


def test_an_end_in_the_future_silences_nothing_that_comes_before() -> None:
    async def main() -> None:
        office = Office()
        async with office.working(office.desk()):
            await asyncio.sleep(5)
            for message_id, alert in (("m1", DEAD), ("m2", BACK)):
                at = office.clock.now().replace(year=9999)
                await office.broker.publish(alert_message(alert, at, message_id=message_id))
            await asyncio.sleep(600)
            await office.raised(DEAD)
            await asyncio.sleep(600)
            assert office.post.subjects[-1] == "Host failed: host-1"
            assert len(await office.alerts()) == 2

    in_virtual_time(main)


# ── a database that is away ──────────────────────────────────────────────────────────────────────────────────


class Ailing:
    """A store of which some ways do not work when a test wants."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.sick: dict[str, Callable[[], Awaitable[None]]] = {}
        self.asked: Counter[str] = Counter()

    def __getattr__(self, way: str) -> Any:
        async def ask(*args: Any, **named: Any) -> Any:
            self.asked[way] += 1
            if way in self.sick:
                await self.sick[way]()
            return await getattr(self._store, way)(*args, **named)

        return ask


async def refuse() -> None:
    raise StoreUnavailable("no space is left")


async def hang() -> None:
    await asyncio.sleep(10_000)


def test_a_database_that_can_only_be_read_is_told() -> None:
    async def main() -> None:
        office = Office()
        store = Ailing(office.store)
        desk = office.desk(store=store)
        async with office.working(desk):
            await asyncio.sleep(5)
            store.sick["transact"] = refuse
            desk.raise_(DEAD)
            await asyncio.sleep(30)
            assert office.post.subjects == ["Trouble with the database: database"]
            store.sick.clear()
            await asyncio.sleep(5)
            assert office.post.subjects[1:] == ["1 trouble with the database (1 over), 1 host failed"]

    in_virtual_time(main)


def test_a_silent_database_is_told_soon_and_said_to_be_waited_for_once() -> None:
    async def main() -> None:
        office = Office()
        store = Ailing(office.store)
        store.sick = {"read": hang, "migrate": hang}
        with capture_logs() as logs:
            async with office.working(office.desk(store=store)):
                await asyncio.sleep(300)
        assert office.post.moments[0] <= 25
        body = office.post.mails[0][1].get_body(("plain",)).get_content()
        assert "has not answered for 10 s" in body
        assert [line["event"] for line in logs].count("a part is away; trying again until it is back") == 1

    in_virtual_time(main)


def test_a_migration_may_take_as_long_as_it_likes() -> None:
    async def main() -> None:
        office = Office()
        store = Ailing(office.store)
        store.sick = {"migrate": lambda: asyncio.sleep(600)}
        desk = office.desk(store=store)
        async with office.working(desk):
            desk.raise_(DEAD)
            await asyncio.sleep(610)
            assert store.asked["migrate"] == 1
            assert office.post.subjects == ["Host failed: host-1"]

    in_virtual_time(main)


def test_what_is_told_without_the_database_is_tried_again_after_growing_pauses() -> None:
    async def main() -> None:
        office = Office()
        office.post.act = lambda _: answer("again" if len(office.post.mails) <= 5 else "sent")
        store = Ailing(office.store)
        store.sick = {"read": refuse}
        async with office.working(office.desk(store=store)):
            await asyncio.sleep(600)
        first = office.post.moments[0]
        assert [round(moment - first) for moment in office.post.moments] == [0, 5, 15, 35, 75, 135]
        assert len({mail["Message-ID"] for _, mail in office.post.mails}) == 1

    in_virtual_time(main)


def test_a_fault_of_what_is_told_directly_ends_nothing() -> None:
    async def burn(_: EmailMessage) -> HandedOver:
        raise RuntimeError("it burns")

    async def main() -> None:
        office = Office()
        office.post.act = burn
        store = Ailing(office.store)
        store.sick = {"read": refuse}
        async with office.working(office.desk(store=store)):
            await asyncio.sleep(60)
            assert len(office.post.mails) == 1
            store.sick, office.post.act = {}, lambda _: took()
            await asyncio.sleep(60)
            assert office.post.subjects[-1] == "Trouble with the database: database (over)"

    in_virtual_time(main)


def test_a_database_that_goes_and_comes_is_told_once_a_window() -> None:
    async def main() -> None:
        office = Office()
        store = Ailing(office.store)
        direct: list[float] = []

        async def note(mail: EmailMessage) -> HandedOver:
            if store.sick:
                direct.append(asyncio.get_running_loop().time())
            return await took()

        office.post.act = note
        async with office.working(office.desk(store=store)):
            for _ in range(20):
                store.sick = {"read": refuse, "transact": refuse}
                await asyncio.sleep(20)
                store.sick = {}
                await asyncio.sleep(10)
        assert len(direct) == 2
        assert direct[1] - direct[0] >= 300

    in_virtual_time(main)


def test_in_a_long_outage_each_subject_is_kept_once_and_its_end_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warrener_services.gossip.desk._LOCAL", 20)

    async def main() -> None:
        office = Office()
        store = Ailing(office.store)
        desk = office.desk(store=store)
        async with office.working(desk):
            await asyncio.sleep(5)
            store.sick = {"read": refuse, "transact": refuse}
            begun_at = office.clock.now()
            for _ in range(30):
                desk.raise_(DEAD)
                await asyncio.sleep(60)
            desk.raise_(BACK)
            desk.raise_(failed(1))
            desk.raise_(failed(1))
            store.sick = {}
            await asyncio.sleep(60)
            rows = {row.alert.subject: row for row in await office.alerts()}
            assert rows["host-1"].at == begun_at
            assert rows["host-1"].over_text == "host-1 is back"
            assert rows["run/1"].over_at is None
            assert rows["database"].over_at is not None

    in_virtual_time(main)


def test_what_came_and_went_often_in_an_outage_is_as_it_was_last() -> None:
    async def main() -> None:
        office = Office()
        store = Ailing(office.store)
        desk = office.desk(store=store)
        async with office.working(desk):
            await asyncio.sleep(5)
            store.sick = {"read": refuse, "transact": refuse}
            for alert in (DEAD, BACK, DEAD, BACK, DEAD):
                desk.raise_(alert)
                await asyncio.sleep(1)
            store.sick = {}
            await asyncio.sleep(60)
            assert [row.over_at for row in await office.alerts() if row.alert.subject == "host-1"][:1] == [None]

    in_virtual_time(main)


# ── letters that wait ────────────────────────────────────────────────────────────────────────────────────────


def test_a_letter_that_nobody_took_before_quiet_hours_waits_until_they_end(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office()
        file = tmp_path / "routes.yaml"
        file.write_text('routes: [{to: ada@example.org, quiet: {from: "00:05", to: "00:20"}}]')  # midnight is now
        office.post.act = lambda _: answer("again") if asyncio.get_running_loop().time() < 290 else took()
        async with office.working(office.desk(settings=Settings(alert_routes=file))):
            await asyncio.sleep(200)
            await office.raised(failed(1))
            await asyncio.sleep(1200)
        assert office.post.moments[-2] < 300
        assert 1200 <= office.post.moments[-1] < 1205

    in_virtual_time(main)


def test_a_letter_that_no_desk_was_there_to_send_before_quiet_hours_waits_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office()
        file = tmp_path / "routes.yaml"
        file.write_text('routes: [{to: ada@example.org, quiet: {from: "00:05", to: "00:20"}}]')  # midnight is now
        settings = Settings(alert_routes=file)
        desk = asyncio.create_task(office.desk(settings=settings).run())
        await asyncio.sleep(250)
        await office.raised(failed(1))
        await asyncio.sleep(5)
        desk.cancel()
        with suppress(asyncio.CancelledError):
            await desk
        await asyncio.sleep(100)
        async with office.working(office.desk(settings=settings)):
            await asyncio.sleep(100)
            await office.raised(failed(2))
            await asyncio.sleep(1000)
        assert office.post.subjects == ["2 tasks failed"]
        assert 1200 <= office.post.moments[0] < 1205

    in_virtual_time(main)


def test_what_is_refused_for_its_content_holds_up_nothing_that_follows() -> None:
    async def main() -> None:
        office = Office()
        office.post.act = lambda mail: answer("refused" if "run/1" in str(mail) else "sent")
        async with office.working(office.desk()):
            await office.raised(failed(1))
            await asyncio.sleep(60)
            await office.raised(failed(2))
            await asyncio.sleep(360)
            assert office.post.subjects == ["Task failed: run/1", "Task failed: run/2"]

    in_virtual_time(main)


def test_what_nobody_took_is_joined_by_what_follows() -> None:
    async def main() -> None:
        office = Office()
        office.post.act = lambda _: answer("again" if asyncio.get_running_loop().time() < 200 else "sent")
        async with office.working(office.desk()):
            await office.raised(failed(1))
            await asyncio.sleep(60)
            await office.raised(failed(2))
            await asyncio.sleep(360)
            assert office.post.subjects[-1] == "2 tasks failed"

    in_virtual_time(main)


def test_a_letter_that_cannot_be_read_waits_and_keeps_nobody() -> None:
    async def main() -> None:
        office = Office()
        async with office.working(office.desk()):
            await office.raised(failed(1))
            await asyncio.sleep(10)
            (waiting,) = await office.letters()
            waiting.content = '{"raised": 7}'
            await office.store.transact(lambda tx: tx.letters.rewrite(waiting))
            await office.raised(failed(2))
            await asyncio.sleep(360)
            assert office.post.subjects == ["Task failed: run/2"]
            assert [letter.outcome for letter in await office.letters()] == [
                "unclear, sent again: this version cannot read it"
            ]

    in_virtual_time(main)


def test_what_a_newer_desk_adds_to_a_letter_is_ignored() -> None:
    content = Content.read('{"raised": [1], "over": [], "counts": {"backlog": [1, 0]}, "muted": true}')

    assert (content.raised, content.began) == ([1], 1)


def test_a_letter_that_cannot_be_sent_keeps_no_other() -> None:
    async def burn(mail: EmailMessage) -> HandedOver:
        if "host-1" in str(mail):
            raise RuntimeError("it burns")
        return await took()

    async def main() -> None:
        office = Office()
        office.post.act = burn
        async with office.working(office.desk()):
            await office.raised(DEAD)
            await asyncio.sleep(60)
            await office.raised(failed(1))
            await asyncio.sleep(60)
            assert office.post.subjects[-1] == "Task failed: run/1"
            assert [letter.outcome for letter in await office.letters()] == [
                "unclear, sent again: a fault of Warrener's own: it burns"
            ]

    in_virtual_time(main)


def test_a_mail_whose_outcome_waited_for_the_database_is_not_sent_by_another_desk() -> None:
    async def main() -> None:
        office = Office()
        one, other = Ailing(office.store), Ailing(office.store)

        async def take(_: EmailMessage) -> HandedOver:
            for store in (one, other):
                store.sick = {"read": refuse, "transact": refuse}
            office.post.act = lambda _: took()
            return await took()

        office.post.act = take
        async with office.working(office.desk(store=one), office.desk("desk-2", store=other)):
            await office.raised(DEAD)
            await asyncio.sleep(150)
            assert office.post.subjects.count("Host failed: host-1") == 1
            other.sick = {}  # a moment sooner than for the one that has the outcome
            await asyncio.sleep(20)
            one.sick = {}
            await asyncio.sleep(300)
            assert office.post.subjects.count("Host failed: host-1") == 1

    in_virtual_time(main)


def test_a_letter_is_given_up_before_another_desk_may_take_it() -> None:
    async def hang_once(_: EmailMessage) -> HandedOver:
        if len(office.post.mails) == 1:
            await asyncio.sleep(100_000)
        return await took()

    office = Office()

    async def main() -> None:
        office.post.act = hang_once
        async with office.working(office.desk()):
            await office.raised(DEAD)
            await asyncio.sleep(200)
        first, second = office.post.moments
        assert 90 <= second - first < 120

    in_virtual_time(main)


def test_a_stop_lets_a_mail_that_is_being_handed_over_end() -> None:
    async def main() -> None:
        office = Office()
        begun = asyncio.Event()

        async def slowly(_: EmailMessage) -> HandedOver:
            begun.set()
            await asyncio.sleep(3)
            return await took()

        office.post.act = slowly
        desk = asyncio.create_task(office.desk().run())
        await office.raised(DEAD)
        await begun.wait()
        desk.cancel()
        with suppress(asyncio.CancelledError):
            await desk
        assert await office.letters() == []
        await office.broker.close()

    in_virtual_time(main)


def test_a_stop_does_not_wait_for_long() -> None:
    async def main() -> None:
        office = Office()
        begun = asyncio.Event()

        async def never(_: EmailMessage) -> HandedOver:
            begun.set()
            await asyncio.sleep(100_000)
            return await took()

        office.post.act = never
        desk = asyncio.create_task(office.desk().run())
        await office.raised(DEAD)
        await begun.wait()
        before_s = asyncio.get_running_loop().time()
        desk.cancel()
        with suppress(asyncio.CancelledError):
            await desk
        assert asyncio.get_running_loop().time() - before_s == 5
        await office.broker.close()

    in_virtual_time(main)
