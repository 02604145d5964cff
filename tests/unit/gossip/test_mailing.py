"""The URLs of mail servers: what is wrong is said, and never shown. And which server is tried first."""

from __future__ import annotations

import traceback
from email.message import EmailMessage

import pytest

from warrener.errors import InvalidSettings
from warrener.settings import Settings
from warrener_services.gossip.mailing import HandedOver, MailServers, Server, Verdict, read_server


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mail.example.org", "one of them is no mail server; write smtp://"),
        ("http://mail.example.org", "is no mail server"),
        ("smtp://ada:hunter2@mail.example.org", "no passwords in here"),
        ("plain://mail.example.org", "without TLS on this host only"),
        ("smtp://mail.example.org:x", "is no mail server"),
        ("smtp://ada:hunter2/x@mail.example.org", "is no mail server"),
        ("smtp://ada:12/hunter2@mail.example.org", "is no mail server"),
        ("smtp://ada:12#hunter2@mail.example.org", "is no mail server"),
        ("smtp://ada:12?hunter2@mail.example.org", "is no mail server"),
        ("plain://hunter2@mail.example.org", "without TLS on this host only"),
    ],
)
def test_what_is_no_mail_server_is_said(url: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match="WARRENER_MAIL_SERVERS") as caught:
        read_server(url)
    assert says in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


class Scripted(MailServers):
    """Servers a.example and b.example, which do what a test says."""

    def __init__(self, *verdicts: Verdict) -> None:
        super().__init__(Settings(mail_servers=("smtp://a.example", "smtp://b.example")))
        self.verdicts, self.tried = list(verdicts), ""

    async def _try(self, server: Server, raw: bytes | None, recipient: str, *, within_s: float) -> HandedOver:
        self.tried += server.host[0]
        return HandedOver(self.verdicts.pop(0), "")

    async def give(self, name: str) -> Verdict:
        mail = EmailMessage()
        mail["Message-ID"] = name
        return (await self.hand_over(mail, "ada@example.org")).verdict


async def test_who_may_have_taken_a_mail_is_asked_first_whoever_took_others() -> None:
    servers = Scripted("unclear", "again", "sent", "sent", "sent")

    assert [await servers.give(name) for name in ("<1@x>", "<2@x>", "<1@x>", "<3@x>")] == [
        "unclear", "sent", "sent", "sent"
    ]  # fmt: skip
    assert servers.tried == "a" + "ab" + "a" + "a"


async def test_the_server_that_took_the_last_mail_is_tried_first() -> None:
    servers = Scripted("refused", "sent", "sent")

    assert [await servers.give(name) for name in ("<1@x>", "<2@x>")] == ["sent", "sent"]
    assert servers.tried == "abb"
