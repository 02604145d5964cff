"""Handing mails over, to real servers: what each way of going wrong is called, and what it means."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
from contextlib import ExitStack, suppress
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailserver import PASSWORD, USER, Authority, mail_server
from warrener.errors import InvalidSettings
from warrener.settings import Settings
from warrener_services.cli.doctor import mail as doctor
from warrener_services.gossip import mailing
from warrener_services.gossip.mailing import MailServers
from warrener_services.gossip.posting import SIGNATURE, Webhooks
from warrener_services.gossip.routes import webhook_name

pytestmark = [
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
    pytest.mark.filterwarnings("ignore:Session.login_data is deprecated"),
]
ADA = "ada@example.org"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    return file


async def handed(authority: Authority, *servers: str, **settings: object) -> tuple[str, str]:
    mail = EmailMessage()
    mail["Message-ID"] = "<a@lab.example>"
    mail.set_content("hello")
    given = Settings(mail_servers=servers, mail_ca=authority.file, mail_from="warrener@lab.example", **settings)
    result = await MailServers(given).hand_over(mail, ADA)
    return result.verdict, result.outcome


async def test_starttls_and_tls_from_the_beginning_with_a_login(authority: Authority, secret: Path) -> None:
    tls = authority.server("127.0.0.1")
    async with mail_server(tls=tls, auth=True) as first, mail_server(tls=tls, implicit=True, auth=True) as second:
        one = f"smtp://{USER}@127.0.0.1:{first.port}"
        other = f"smtps://{USER}@127.0.0.1:{second.port}"
        for url, server in ((one, first), (other, second)):
            assert await handed(authority, url, mail_secret=secret) == (
                "sent", f"127.0.0.1:{server.port}: took it (taken)"
            )  # fmt: skip
            assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("names", "days", "says"),
    [
        (("elsewhere.example",), 1, "its certificate is not valid: IP address mismatch"),
        (("127.0.0.1",), -3, "its certificate is not valid: certificate has expired"),
    ],
)
@pytest.mark.parametrize("way", ["smtp", "smtps"])
async def test_a_wrong_certificate_gets_nothing(
    authority: Authority, names: tuple[str, ...], days: int, says: str, way: str
) -> None:
    tls = authority.server(*names, days=days)
    async with mail_server(tls=tls, implicit=way == "smtps") as server:
        verdict, outcome = await handed(authority, f"{way}://127.0.0.1:{server.port}")
    assert (verdict, says in outcome, server.tries) == ("again", True, 0)


async def test_a_server_without_tls_gets_nothing(authority: Authority) -> None:
    async with mail_server() as server:
        verdict, outcome = await handed(authority, f"smtp://127.0.0.1:{server.port}")
        assert (verdict, "offers no STARTTLS" in outcome) == ("again", True)
        verdict, outcome = await handed(authority, f"smtps://127.0.0.1:{server.port}")
        assert (verdict, "is smtps:// right for it?" in outcome) == ("again", True)
    assert server.mails == []


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ({ADA: "450 4.2.0 greylisted"}, "again"),
        ({ADA: "550 5.1.1 no such user"}, "refused"),
        ({"data": "451 4.3.0 later"}, "again"),
        ({"data": "554 5.7.1 spam"}, "refused"),
    ],
)
async def test_a_servers_refusal_is_final_or_for_now(authority: Authority, answers: dict, verdict: str) -> None:
    async with mail_server() as server:
        server.answers = answers
        found, outcome = await handed(authority, f"plain://127.0.0.1:{server.port}")
    assert found == verdict
    assert next(iter(answers.values())) in outcome


async def test_a_refusal_of_one_server_is_not_final_while_another_is_away(authority: Authority) -> None:
    async with mail_server() as server:
        server.answers = {ADA: "550 relaying denied"}
        verdict, outcome = await handed(authority, "smtp://127.0.0.1:1", f"plain://127.0.0.1:{server.port}")
    assert verdict == "again"
    assert "127.0.0.1:1: cannot be reached: Connection refused; " in outcome


async def test_a_server_that_goes_silent_after_the_mail_may_have_taken_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warrener_services.gossip.mailing._STEP_TIMEOUT_S", 1.0)
    got, ended = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        with suppress(ConnectionError):
            while not got.is_set() and (line := await reader.readline()):
                writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 yes\r\n")
                if line.startswith(b"DATA"):
                    await reader.readuntil(b"\r\n.\r\n")
                    got.set()
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with mail_server() as second, await asyncio.start_server(talk, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        verdict, outcome = await handed(authority, f"plain://127.0.0.1:{port}", f"plain://127.0.0.1:{second.port}")
        await ended.wait()
    assert (verdict, got.is_set(), second.mails) == ("unclear", True, [])
    assert "did not answer in time (at the mail)" in outcome


async def test_a_server_that_does_not_say_goodbye_has_taken_the_mail_all_the_same(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warrener_services.gossip.mailing._IN_ALL_S", 1.0)
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        with suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"QUIT"):
                    continue
                writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 yes\r\n")
                if line.startswith(b"DATA"):
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 taken\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await handed(authority, f"plain://127.0.0.1:{port}") == ("sent", f"127.0.0.1:{port}: took it (taken)")
        await ended.wait()


def test_a_password_that_others_may_read_is_refused(secret: Path) -> None:
    secret.chmod(0o640)
    with pytest.raises(InvalidSettings, match=r"WARRENER_MAIL_SECRET: .* chmod 600"):
        MailServers(Settings(mail_secret=secret))
    with pytest.raises(InvalidSettings, match="and no password"):
        MailServers(Settings(mail_servers=("smtp://ada@mail.example.org",)))


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_webhook_gets_a_signed_letter_and_its_answer_counts(secret: Path) -> None:
    requests: list[tuple[bytes, bytes]] = []
    answers = [b"200 OK", b"503 Busy", b"429 Slowly", b"410 Gone", b"301 Moved"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-l"))
        requests.append((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 " + answers[len(requests) - 1] + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hidden"
        hooks = Webhooks(Settings(webhook_secret=secret), {webhook_name(url): url})
        results = [await hooks.post(webhook_name(url), {"id": "a"}) for _ in answers]
    gone = await hooks.post(webhook_name(url), {"id": "a"})
    unknown = await hooks.post("elsewhere-1", {"id": "a"})

    assert [one.verdict for one in results] == ["sent", "again", "again", "refused", "refused"]
    assert (gone.verdict, unknown.verdict) == ("again", "refused")
    assert not any("hidden" in one.outcome for one in [*results, gone])
    head, body = requests[0]
    signature = hmac.new(PASSWORD.encode(), body, hashlib.sha256).hexdigest()
    assert f"{SIGNATURE}: sha256={signature}".lower().encode() in head.lower()
    assert json.loads(body) == {"id": "a"}


async def test_the_doctor_says_what_each_server_would_do_and_sends_nothing(authority: Authority, secret: Path) -> None:
    tls = authority.server("127.0.0.1")
    async with mail_server(tls=tls, auth=True) as good, mail_server() as open_to_all:
        urls = [f"smtp://{USER}@127.0.0.1:{good.port}", f"smtp://127.0.0.1:{open_to_all.port}"]

        async def said(*servers: str, **more: object) -> list[tuple[str, str]]:
            given = Settings(mail_servers=servers, mail_ca=authority.file, mail_to=[ADA], mail_secret=secret, **more)
            return [(finding.health.value, finding.says) for finding in await doctor.look(given)]

        (one, two) = await said(*urls)
        assert (one[0], "would take mails" in one[1]) == ("well", True)
        assert (two[0], "offers no STARTTLS" in two[1]) == ("warning", True)
        ((health, says),) = await said(urls[1])
        assert (health, "offers no STARTTLS" in says) == ("fault", True)
        secret.write_text("wrong\n")
        ((health, says),) = await said(urls[0])
        assert (health, "refused the login" in says) == ("fault", True)
        assert not good.mails


async def test_the_doctor_names_each_of_several_silent_servers_within_its_limit(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "_LOOK_S", 1.0)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        urls = [f"plain://127.0.0.1:{one.getsockname()[1]}" for one in silent]
        async with asyncio.timeout(2.5):
            found = await doctor.look(Settings(mail_servers=urls, mail_ca=authority.file, mail_to=[ADA]))
    assert [finding.says.partition(" ")[0] for finding in found] == [f"{url[8:]}:" for url in urls]
    assert all("did not answer in time" in finding.says for finding in found)


async def test_the_doctor_says_where_alerts_go_without_a_mail_server(tmp_path: Path) -> None:
    (hook,) = await doctor.look(Settings(webhook="https://chat.example.org/sesame"))
    assert (hook.health, "chat.example.org" in hook.says, "sesame" in hook.says) == ("well", True, False)
    file = tmp_path / "routes.yaml"
    file.write_text(f"routes: [{{to: {ADA}}}]")
    (nowhere,) = await doctor.look(Settings(alert_routes=file))
    assert (nowhere.health, "WARRENER_MAIL_SERVERS is not set" in nowhere.says) == ("fault", True)
