"""The calls of the load; each notes in the history that it started, on which host, and that it ended."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from warrener.worker.functions import Worker

from .history import note

worker = Worker("chaos")


@worker.function
async def double(n: int, run: str, task: str, history: str, seconds: float = 0.0) -> int:
    """Return 2n, after some seconds."""
    about = {"kind": "call", "run": run, "task": task, "attempt": 0, "host": socket.gethostname()}
    note(Path(history), "start", **about)
    if seconds:
        await asyncio.sleep(seconds)
        note(Path(history), "end", **about)
    return 2 * n


@worker.function
async def plain(n: int, seconds: float = 0.0) -> int:
    """Return 2n and note nothing: for loads of many thousands, whose results alone are looked at."""
    if seconds:
        await asyncio.sleep(seconds)
    return 2 * n


if __name__ == "__main__":
    worker.run()
