"""Handing a mail over: to the first of the mail servers that takes it, never without TLS outside this host.

Whatever goes wrong is said in plain words, with the server's name. What counts for what follows is whether the server
may have taken the mail all the same (`unclear`): then nothing but the very same mail may be sent again.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import aiosmtplib

from warrener.alerts import one_line, redacted
from warrener.errors import InvalidSettings
from warrener.setting_files import is_open_to_others
from warrener.settings import Settings

from .routes import address

_STEP_TIMEOUT_S = 15.0
_IN_ALL_S = 45.0
_LOOK_S = 20.0  # somebody waits for it
_GOODBYE_S = 2.0
_PORTS = {"smtp": 587, "smtps": 465, "plain": 25}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SAID = 200
Verdict = Literal["sent", "again", "unclear", "refused"]


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server. `way`: STARTTLS, TLS from the beginning, or nothing (this host only)."""

    way: Literal["smtp", "smtps", "plain"]
    host: str
    port: int
    user: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HandedOver:
    """How it went with one letter. `again`: nobody took it; `unclear`: somebody may have; `refused`: nobody will."""

    verdict: Verdict
    outcome: str


def read_server(text: str) -> Server:
    """Read the URL of a mail server; raises InvalidSettings, and never shows it: a password may be in it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _no_server() from None  # its text may quote a password
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise _no_server()
    if parts.password is not None:
        raise InvalidSettings(
            "WARRENER_MAIL_SERVERS: no passwords in here: put it into a file of mode 0600, and that file's name into"
            " WARRENER_MAIL_SECRET"
        )
    if parts.scheme == "plain" and parts.hostname not in _LOOPBACK:
        raise InvalidSettings(
            f"WARRENER_MAIL_SERVERS: {parts.hostname}: mails travel without TLS on this host only"
            " (plain://127.0.0.1:25); use smtp:// or smtps://"
        )
    way: Literal["smtp", "smtps", "plain"] = parts.scheme  # type: ignore[assignment]
    return Server(way, parts.hostname, port or _PORTS[way], unquote(parts.username or ""))


def _no_server() -> InvalidSettings:
    return InvalidSettings(
        "WARRENER_MAIL_SERVERS: one of them is no mail server; write smtp://user@host:587 (STARTTLS),"
        " smtps://user@host:465, or plain://127.0.0.1:25"
    )


def read_private(path: Path, variable: str) -> str:
    """Read a secret from a file that nobody else may read; raises InvalidSettings, and never shows it."""
    try:
        if is_open_to_others(path):
            raise InvalidSettings(f"{variable}: {path} may be read by others than its owner: chmod 600 {path}")
        secret = path.read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidSettings(f"{variable}: {path} cannot be read: {reason}") from error
    if not secret:
        raise InvalidSettings(f"{variable}: {path} is empty")
    return secret


def tls(ca: Path | None) -> ssl.SSLContext:
    """Return how certificates are checked: against the system's authorities, or the given ones."""
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(f"WARRENER_MAIL_CA: {ca} cannot be read as certificates in PEM: {error}") from error


class MailServers:
    """The mail servers of the settings: first who may have a mail already, then who took the last one."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidSettings."""
        self._servers = [read_server(text) for text in settings.mail_servers]
        self._unclear: dict[str, Server] = {}
        self._secret = settings.mail_secret
        self._tls = tls(settings.mail_ca)
        self.sender = settings.mail_from or f"warrener@{settings.host}"
        try:
            address(self.sender)
        except ValueError as error:
            raise InvalidSettings(f"WARRENER_MAIL_FROM: {error}") from error
        if self._secret is not None:
            read_private(self._secret, "WARRENER_MAIL_SECRET")
        elif users := [str(server) for server in self._servers if server.user]:
            raise InvalidSettings(
                f"WARRENER_MAIL_SERVERS: a user for {users[0]}, and no password: put it into a file of mode 0600, and"
                " that file's name into WARRENER_MAIL_SECRET"
            )

    async def hand_over(self, mail: EmailMessage, recipient: str) -> HandedOver:
        """Give a mail to one of the servers."""
        if not self._servers:
            return HandedOver("again", "no mail server is set: WARRENER_MAIL_SERVERS")
        raw, name = mail.as_bytes(), str(mail["Message-ID"])
        # Who may have taken this mail is asked first: only that server knows the Message-ID.
        perhaps = self._unclear.get(name)
        said: list[str] = []
        verdicts: list[Verdict] = []
        for server in sorted(self._servers, key=lambda one: one != perhaps):
            self._unclear[name] = server
            one = await self._try(server, raw, recipient, within_s=_IN_ALL_S)
            said.append(one.outcome)
            verdicts.append(one.verdict)
            if one.verdict == "unclear":
                break  # another server must not send it a second time
            del self._unclear[name]
            if one.verdict == "sent":
                self._servers.sort(key=lambda other: other != server)
                break
        return HandedOver(_together(verdicts), "; ".join(said))

    async def look(self) -> list[HandedOver]:
        """Go with each server as far as one can without a mail."""
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._try(server, None, "", within_s=_LOOK_S)) for server in self._servers]
        return [look.result() for look in looks]

    async def _try(self, server: Server, raw: bytes | None, recipient: str, *, within_s: float) -> HandedOver:
        progress = _Progress()
        client = aiosmtplib.SMTP(
            hostname=server.host, port=server.port, timeout=_STEP_TIMEOUT_S, use_tls=server.way == "smtps",
            start_tls=False, tls_context=self._tls if server.way == "smtps" else None,
        )  # fmt: skip
        try:
            async with asyncio.timeout(within_s):
                await self._greet(client, server, progress)
                said = await self._give(client, raw, recipient, progress)
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=_GOODBYE_S)  # it has taken the mail: how it says goodbye does not matter
            return HandedOver("sent", f"{server}: {said}")
        except (aiosmtplib.SMTPException, OSError, ValueError, InvalidSettings) as error:
            if progress.verdict == "refused" and not _is_final(error):
                progress.verdict = "again"
            why = _in_words(error, server, progress)
            return HandedOver(progress.verdict, f"{server}: {why}")
        finally:
            client.close()

    async def _greet(self, client: aiosmtplib.SMTP, server: Server, progress: _Progress) -> None:
        await client.connect()
        if server.way == "smtp":
            progress.step = "STARTTLS"
            await client.starttls(tls_context=self._tls, server_hostname=server.host)
        if server.user:
            progress.step = "login"
            assert self._secret is not None
            password = await asyncio.to_thread(read_private, self._secret, "WARRENER_MAIL_SECRET")
            await client.login(server.user, password)
        progress.step = "sender"
        await client.mail(self.sender)

    async def _give(self, client: aiosmtplib.SMTP, raw: bytes | None, recipient: str, progress: _Progress) -> str:
        """Give a mail, if there is one; return what the server says."""
        if raw is None:
            return f"would take mails from {self.sender}"
        progress.step, progress.verdict = "recipient", "refused"
        await client.rcpt(recipient)
        progress.step, progress.verdict = "mail", "unclear"
        try:
            answer = await client.data(raw)
        except aiosmtplib.SMTPDataError as error:
            progress.verdict = "refused" if _is_final(error) else "again"  # it answered: it has not taken it
            raise
        return f"took it ({one_line(answer.message, 80)})"


@dataclass(slots=True)
class _Progress:
    """How far a conversation is, and what it means if it ends here."""

    step: str = "connection"
    verdict: Verdict = "again"


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    if verdicts[-1] in ("sent", "unclear"):
        return verdicts[-1]
    return "refused" if all(one == "refused" for one in verdicts) else "again"


def _is_final(error: BaseException) -> bool:
    return isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 500  # noqa: PLR2004 - RFC 5321, 4.2.1


def _in_words(error: BaseException, server: Server, progress: _Progress) -> str:  # noqa: PLR0911 - a sentence for each
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = one_line(cause.verify_message or str(cause), _SAID)
            return f"its certificate is not valid: {why}; nothing was sent (WARRENER_MAIL_CA gives other authorities)"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS with it ({cause.reason or one_line(str(cause), _SAID)}); is {server.way}:// right for it?"
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return f"it refused the login of {server.user}: {_said(error)}"
    if progress.step == "STARTTLS":
        return f"it offers no STARTTLS, and without TLS nothing is sent: {_said(error)}"
    if progress.step in ("sender", "recipient", "mail") and isinstance(error, aiosmtplib.SMTPResponseException):
        later = "refused" if _is_final(error) else "did not take, for now,"
        return f"it {later} the {progress.step}: {_said(error)}"
    if isinstance(error, (TimeoutError, aiosmtplib.SMTPTimeoutError)):
        return f"it did not answer in time (at the {progress.step})"
    if progress.step == "connection":
        codes = [cause.errno for cause in _chain(error) if isinstance(cause, OSError) and cause.errno]
        return f"cannot be reached: {os.strerror(codes[-1]) if codes and codes[-1] > 0 else _said(error)}"
    return f"the conversation broke off at the {progress.step}: {_said(error)}"


def _said(error: BaseException) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return redacted(one_line(f"{error.code} {error.message}", _SAID))
    return redacted(one_line(str(error) or type(error).__name__, _SAID))


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
