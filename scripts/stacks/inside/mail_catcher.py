"""Takes every mail and delivers none: what the stack would send lies in a maildir, for people and tests to look at."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP

PORT = 1025
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
    box = Kept(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, data_size_limit=MAX_BYTES, hostname="mail", enable_SMTPUTF8=True, loop=loop), port=PORT
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
