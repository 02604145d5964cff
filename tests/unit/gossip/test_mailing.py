"""The URLs of mail servers: what is wrong is said, and never shown."""

from __future__ import annotations

import traceback

import pytest

from warrener.errors import InvalidSettings
from warrener_services.gossip.mailing import read_server


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
