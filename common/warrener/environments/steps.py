"""One step of a build: a command in a process group of its own, heard line by line, gone when we leave."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from warrener.environment import Log

_LINE_BYTES = 8192
_DRAIN_S = 5.0


async def run_step(argv: Sequence[str], *, environ: Mapping[str, str], folder: Path, hold: int, log: Log) -> int:
    """Run a command to its end and return its exit code; its whole group is killed however this is left.

    `hold` is a descriptor that the command inherits: its lock lives on while anything of the command does,
    also when this process is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environ),
        cwd=folder,
        pass_fds=(hold,),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.TaskGroup() as group:
            readers = [
                group.create_task(_hear(process.stdout, "stdout", log)),
                group.create_task(_hear(process.stderr, "stderr", log)),
            ]
            code = await process.wait()
            _kill(process.pid)  # what the builder left behind would keep the pipes open
            _, deaf = await asyncio.wait(readers, timeout=_DRAIN_S)
            for reader in deaf:
                reader.cancel()
        return code
    finally:
        _kill(process.pid)
        await asyncio.shield(process.wait())


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


async def _hear(stream: asyncio.StreamReader, name: Literal["stdout", "stderr"], log: Log) -> None:
    rest = b""
    while piece := await stream.read(_LINE_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            log(name, line.decode("utf-8", "replace") + "\n")
    if rest:
        log(name, rest.decode("utf-8", "replace") + "\n")
