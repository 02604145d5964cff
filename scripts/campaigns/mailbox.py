"""A mail server that writes down what it is handed, and when: enough of RFC 5321 for a program that sends alerts.

It runs on the host of the program that mails, as a relay does: `python -m campaigns.mailbox HISTORY`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from .history import note

PORT = 2525


async def main(history: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 chaos\r\n")
        while line := (await reader.readline()).decode(errors="replace").strip():
            verb = line.partition(" ")[0].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                await writer.drain()
                text = (await reader.readuntil(b"\r\n.\r\n")).decode(errors="replace")
                note(history, "mail", text=text[:8000])
            writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 fine\r\n")
            await writer.drain()
            if verb == "QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
