"""A mail server that keeps what it is handed, and when: enough of RFC 5321 for a program that sends alerts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .history import History, now_s

PORT = 2525


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail: when its last byte came, and all of it."""

    at_s: float
    text: str


@dataclass(slots=True)
class Mailbox:
    """The mails that came, in order."""

    history: History
    mails: list[Mail] = field(default_factory=list)

    def naming(self, word: str, since_s: float) -> list[float]:
        """Return when mails came that name something, since a moment."""
        return [mail.at_s for mail in self.mails if mail.at_s >= since_s and word in mail.text]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 chaos\r\n")
        while line := (await reader.readline()).decode(errors="replace").strip():
            verb = line.partition(" ")[0].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                text = await reader.readuntil(b"\r\n.\r\n")
                self._keep(text.decode(errors="replace"))
            writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 fine\r\n")
            await writer.drain()
            if verb == "QUIT":
                break
        writer.close()

    def _keep(self, text: str) -> None:
        self.mails.append(Mail(now_s(), text))
        subject = next((line for line in text.splitlines() if line.lower().startswith("subject:")), "")
        self.history.note("mail", subject=subject[:200])


@asynccontextmanager
async def mailbox_at(address: str, history: History) -> AsyncIterator[Mailbox]:
    """Take mail at an address as long as the context lasts."""
    mailbox = Mailbox(history)
    server = await asyncio.start_server(mailbox._serve, address, PORT)  # noqa: SLF001 - same module
    async with server:
        yield mailbox
