"""Takes every mail and delivers none: what the stack would send lies in a maildir, for people and tests to look at."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP

PORT = 1025
SECRETS = Path("/run/secrets")
KEEP = 1000
MAX_BYTES = 1024 * 1024


class Kept(Mailbox):
    """A maildir that forgets its oldest mails."""

    def handle_message(self, message: object) -> None:
        super().handle_message(message)
        kept = sorted(Path(self.mail_dir, "new").iterdir(), key=lambda mail: mail.stat().st_mtime)
        for mail in kept[:-KEEP]:
            mail.unlink(missing_ok=True)


async def main(folder: str) -> None:
    for name in ("cur", "new", "tmp"):  # a volume is there before its maildir is, and Mailbox makes none then
        Path(folder, name).mkdir(exist_ok=True)
    box = Kept(folder)
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(SECRETS / "mail.crt", SECRETS / "mail.pem")

    def connected() -> SMTP:
        return SMTP(
            box, data_size_limit=MAX_BYTES, hostname="mail", enable_SMTPUTF8=True, loop=loop,
            tls_context=tls, require_starttls=True,
        )  # fmt: skip

    server = await loop.create_server(connected, port=PORT)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
