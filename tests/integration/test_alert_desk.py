"""Alert desks over real mail servers: what arrives, how often, and what happens when something is away."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mailserver import PASSWORD, USER, Authority, MailServer, mail_server, private_file
from warrener.alerts import Alert, AlertKind
from warrener.brokers.memory import MemoryBroker
from warrener.clock import SystemClock
from warrener.errors import StoreUnavailable
from warrener.gossip import Member, Status
from warrener.letters import AlertFilter, AlertRow, Letter
from warrener.membership import News, Notice
from warrener.runtime.alerting import alert_message
from warrener.settings import Settings
from warrener.store import Changes
from warrener.stores import open_store
from warrener.stores.sql import SqlStore
from warrener_services.gossip.desk import AlertDesk, Limits
from warrener_services.gossip.mailing import MailServers
from warrener_services.gossip.posting import Webhooks
from warrener_services.gossip.routes import read_routes
from warrener_services.gossip.trouble import Troubles, parts_seen_from

pytestmark = [
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
    pytest.mark.filterwarnings("ignore:Session.login_data is deprecated"),
]
NOW = datetime.now(UTC)
DEAD = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 does not answer", site="lab", cause="It burns.", look="ping")
BACK = Alert(AlertKind.MEMBER_FAILED, "host-1", "host-1 is back", over=True)


def failed(n: int, **more: Any) -> Alert:
    return Alert(AlertKind.TASK_FAILED, f"run/{n}", f"{n} failed", **more)


@dataclass
class Place:
    """Where desks of a test work."""

    url: str
    settings: Settings
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    stores: list[SqlStore] = field(default_factory=list)

    def store(self) -> SqlStore:
        self.stores.append(open_store(self.url))
        return self.stores[-1]

    def desk(self, who: str = "desk-1", store: Any = None, **settings: Any) -> AlertDesk:
        given = self.settings.model_copy(update=settings)
        routes = read_routes(given)
        return AlertDesk(
            store=store or self.store(), broker=self.broker, clock=SystemClock(), rng=Random(who), who=who,
            routes=routes, servers=MailServers(given), webhooks=Webhooks(given, routes.webhooks),
            troubles=Troubles(parts_seen_from("here")), limits=Limits(shards=4, lease_s=2.0),
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

    async def raised(self, *alerts: Alert) -> None:
        """Write alerts as a scheduler does."""
        store = self.stores[0] if self.stores else self.store()
        await store.migrate(shards=4)
        await store.transact(lambda tx: tx.write(Changes(alerts=[(alert, datetime.now(UTC)) for alert in alerts])))

    async def alerts(self) -> Sequence[AlertRow]:
        return await self.stores[0].read(lambda tx: tx.alerts.list(AlertFilter(limit=1000)))

    async def until_letter(self, condition: Callable[[Letter], bool]) -> Letter:
        far = datetime(2100, 1, 1, tzinfo=UTC)
        async with asyncio.timeout(30):
            while True:
                for letter in await self.stores[0].read(lambda tx: tx.letters.waiting(far, 100)):
                    if condition(letter):
                        return letter
                await asyncio.sleep(0.02)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[MailServer]:
    async with mail_server(tls=authority.server("127.0.0.1")) as server:
        yield server


@pytest.fixture
async def place(tmp_path: Path, server: MailServer, authority: Authority) -> AsyncIterator[Place]:
    place = Place(
        f"sqlite:///{tmp_path / 'alerts.db'}",
        Settings(
            mail_servers=(f"smtp://127.0.0.1:{server.port}",), mail_ca=authority.file, mail_from="warrener@lab.example",
            mail_to=("ada@example.org",), alert_window=timedelta(seconds=2),
        ),
    )  # fmt: skip
    yield place
    for store in place.stores:
        await store.close()
    await place.broker.close()


# ── what arrives ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hosts_death_is_in_a_mail_within_seconds(place: Place, server: MailServer) -> None:
    desk = place.desk()
    async with place.working(desk):
        begun = asyncio.get_running_loop().time()
        desk.news([Notice(News.FAILED, Member("host-1", Status.FAILED, "10.0.0.1:7946", {"site": "lab"}))])
        (mail,) = await server.until_mails(1)

    assert asyncio.get_running_loop().time() - begun < 5
    assert mail["Subject"] == "[warrener] Host failed: host-1, site lab"
    assert mail["To"] == "ada@example.org"
    assert mail["Auto-Submitted"] == "auto-generated"
    for part in ("plain", "html"):
        body = mail.get_body((part,)).get_content()
        for word in ("host-1 (10.0.0.1:7946) does not answer", "Probable cause", "warrener workers", "alerts ack 1"):
            assert word in body


async def test_what_a_scheduler_wrote_and_what_came_by_message_is_told(place: Place, server: MailServer) -> None:
    await place.raised(failed(1))
    async with place.working(place.desk()):
        await server.until_mails(1)
        for _ in range(2):  # a message that comes twice
            await place.broker.publish(alert_message(DEAD, NOW, message_id="m1"))
        first, second = await server.until_mails(2)

    assert first["Subject"] == "[warrener] Task failed: run/1"
    assert second["Subject"] == "[warrener] Host failed: host-1, site lab"
    rows = await place.alerts()
    assert [row.repeats for row in rows] == [0, 0]


async def test_ten_thousand_failures_are_few_mails(place: Place, server: MailServer) -> None:
    def told() -> int:
        subjects = [mail["Subject"].split() for mail in server.mails]
        return sum(int(words[1].replace(",", "")) for words in subjects if words[2:4] == ["tasks", "failed"])

    await place.raised(*(failed(n) for n in range(10_000)))
    async with place.working(place.desk()):
        await server.until(lambda: told() == 10_000)

    assert len(server.mails) <= 3  # two, unless the machine is so slow that sorting outlasts the window of 2 s
    assert len({mail["Message-ID"] for mail in server.mails}) == len(server.mails)
    largest = max(server.mails, key=lambda mail: len(mail["Subject"]))
    body = largest.get_body(("plain",)).get_content()
    assert body.count("\nERROR  task failed: run/") == 12
    assert "more: warrener alerts list" in body
    assert len(bytes(largest)) < 64 * 1024


async def test_a_recovery_within_the_window_is_told_together(place: Place, server: MailServer) -> None:
    await place.raised(failed(1))
    async with place.working(place.desk()):
        await server.until_mails(1)
        await place.raised(failed(2), failed(2, over=True), failed(1, over=True))
        mail = (await server.until_mails(2))[1]

    assert mail["Subject"] == "[warrener] 1 task failed (2 given another go)"
    body = mail.get_body(("plain",)).get_content()
    assert body.count("OVER  task failed") == 2


async def test_what_is_open_is_told_once_and_its_end_once(place: Place, server: MailServer) -> None:
    await place.raised(DEAD, DEAD)
    async with place.working(place.desk()):
        await server.until_mails(1)
        await place.raised(DEAD)
        await place.raised(BACK, BACK)
        first, second = await server.until_mails(2)

    assert first["Subject"] == "[warrener] Host failed: host-1, site lab"
    assert second["Subject"] == "[warrener] Host failed: host-1 (over), site lab"
    (row,) = await place.alerts()
    assert row.repeats == 2
    assert row.over_text == "host-1 is back"
    assert len(server.mails) == 2


async def test_a_new_line_in_a_name_neither_forges_a_header_nor_loses_the_alert(
    place: Place, server: MailServer
) -> None:
    name = "plot\r\nBcc: eve@example.org\r\n\r\n<script>alert(1)</script>\x1b[31m"
    await place.raised(Alert(AlertKind.TASK_FAILED, name, f"{name} failed", owner=name, cause=name, excerpt=name * 900))
    async with place.working(place.desk()):
        (mail,) = await server.until_mails(1)

    assert mail["Bcc"] is None
    assert server.recipients == ["ada@example.org"]
    assert "plot Bcc: eve@example.org <script>" in mail["Subject"]
    html = mail.get_body(("html",)).get_content()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in mail.get_body(("plain",)).get_content()


# ── when something does not work ─────────────────────────────────────────────────────────────────────────────


async def test_a_wrong_certificate_gets_nothing_and_another_server_gets_the_mail(
    place: Place, server: MailServer, authority: Authority
) -> None:
    async with mail_server(tls=authority.server("elsewhere.example")) as wrong:
        urls = (f"smtp://127.0.0.1:{wrong.port}", *place.settings.mail_servers)
        await place.raised(DEAD)
        async with place.working(place.desk(mail_servers=urls)):
            await server.until_mails(1)
    assert wrong.mails == []
    assert wrong.tries == 0


async def test_alerts_wait_while_the_mail_server_is_away_and_then_come_once(place: Place, authority: Authority) -> None:
    async with mail_server() as server:
        port = server.port
    await place.raised(DEAD)
    url = (f"plain://127.0.0.1:{port}",)
    async with place.working(place.desk(mail_servers=url)):
        letter = await place.until_letter(lambda letter: letter.tries > 0 and letter.taken_by is None)
        assert letter.outcome == f"waits: 127.0.0.1:{port}: cannot be reached: Connection refused"
        await place.raised(Alert(AlertKind.MEMBER_FAILED, "host-2", "host-2 does not answer"))
        async with mail_server(port=port) as server:
            (mail,) = await server.until_mails(1)
            assert mail["Subject"] == "[warrener] 2 hosts failed"


async def test_a_refused_login_is_said_and_the_mail_waits(place: Place, authority: Authority, tmp_path: Path) -> None:
    context = authority.server("127.0.0.1")
    async with mail_server(tls=context, implicit=True, auth=True) as server:
        with private_file(tmp_path / "password", "wrong") as secret:
            url = (f"smtps://{USER}@127.0.0.1:{server.port}",)
            await place.raised(DEAD)
            async with place.working(place.desk(mail_servers=url, mail_secret=secret)):
                letter = await place.until_letter(lambda letter: bool(letter.outcome))
                assert "refused the login of warrener: 535" in (letter.outcome or "")
                secret.write_text(f"{PASSWORD}\n")  # read anew for each mail
                await server.until_mails(1)


async def test_greylisting_is_waited_out_and_a_refused_recipient_blocks_nobody(
    place: Place, server: MailServer
) -> None:
    server.answers = {"ada@example.org": "450 4.2.0 come again", "gone@example.org": "550 5.1.1 no such user"}
    await place.raised(DEAD)
    to = ("ada@example.org", "gone@example.org", "eve@example.org")
    async with place.working(place.desk(mail_to=to)):
        await server.until(lambda: server.recipients == ["eve@example.org"] and server.tries >= 3)
        refused = await place.until_letter(lambda letter: (letter.outcome or "").startswith("refused"))
        assert "550 5.1.1 no such user" in (refused.outcome or "")
        server.answers = {}
        await server.until_mails(2)
    assert server.recipients == ["eve@example.org", "ada@example.org"]


@pytest.mark.parametrize("url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
async def test_three_desks_send_every_letter_once(
    place: Place, server: MailServer, url: str, request: pytest.FixtureRequest
) -> None:
    if url == "postgresql":
        place.url = request.getfixturevalue("postgresql_url")
    to = tuple(f"admin{n}@example.org" for n in range(10))
    desks = [place.desk(f"desk-{n}", mail_to=to) for n in range(3)]
    await place.raised(DEAD)
    async with place.working(*desks):
        for desk in desks:  # each of them sees it
            desk.raise_(DEAD)
            desk.raise_(Alert(AlertKind.BACKLOG, "all", "too much"))
        await server.until_mails(20)
        await place.raised(BACK)
        await server.until_mails(30)
    assert sorted(server.recipients) == sorted(to * 3)
    assert len({mail["Message-ID"] for mail in server.mails}) == 30


class CutOff(SqlStore):
    """A store that cannot be reached when a test wants."""

    away = False

    async def transact(self, work: Any) -> Any:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().transact(work)

    async def read(self, work: Any) -> Any:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().read(work)


async def test_a_database_that_is_away_is_told_without_it_and_its_return_as_well(
    place: Place, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warrener_services.gossip.trouble.LASTS", timedelta(seconds=1))
    store = place.store()
    store.__class__ = CutOff
    desk = place.desk(store=store)
    async with place.working(desk):
        desk.raise_(failed(1))
        await server.until_mails(1)
        store.away = True  # type: ignore[attr-defined]
        desk.raise_(failed(2))
        mail = (await server.until_mails(2))[1]
        assert mail["Subject"] == "[warrener] Trouble with the database: database"
        assert "alerts ack" not in mail.get_body(("plain",)).get_content()
        store.away = False  # type: ignore[attr-defined]
        await server.until(lambda: any("(over)" in mail["Subject"] for mail in server.mails))
        await server.until(lambda: any("run/2" in mail["Subject"] for mail in server.mails))


_ONE_DESK = """
import asyncio, sys
from warrener.runtime.crash import arm_from_environment
from warrener_services.gossip.__main__ import run
from warrener.settings import Settings
arm_from_environment()
asyncio.run(run(Settings.read(broker="memory://", gossip="static://")))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", ["gossip.taken", "gossip.handed-over", "gossip.sent"])
async def test_a_crash_anywhere_loses_no_mail_and_repeats_only_the_same_one(
    place: Place, server: MailServer, point: str, tmp_path: Path
) -> None:
    await place.raised(DEAD)
    given = place.settings
    environment = {
        **os.environ, "WARRENER_STORE": place.url, "WARRENER_STATE": str(tmp_path / "state"),
        "WARRENER_MAIL_SERVERS": given.mail_servers[0], "WARRENER_MAIL_CA": str(given.mail_ca),
        "WARRENER_MAIL_FROM": given.mail_from, "WARRENER_MAIL_TO": given.mail_to[0], "WARRENER_CRASH_AT": point,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _ONE_DESK, env=environment)
    try:
        async with asyncio.timeout(150):  # a busy machine takes long to import everything
            assert await process.wait() == 137
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    before = len(server.mails)
    assert before == (point in ("gossip.handed-over", "gossip.sent"))

    async with place.working(place.desk("desk-2")):
        expected = {"gossip.handed-over": 2}.get(point, 1)
        await server.until_mails(expected)
        await place.raised(BACK)
        await server.until(lambda: any("(over)" in mail["Subject"] for mail in server.mails))
    deaths = [mail for mail in server.mails if "(over)" not in mail["Subject"]]
    assert len(deaths) == expected
    assert len({mail["Message-ID"] for mail in deaths}) == 1
    assert len({bytes(mail) for mail in deaths}) == 1
