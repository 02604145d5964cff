"""What a task printed, on the same streams here."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Literal, cast

from warrener.alerts import clean
from warrener.client import Client

from .screen import say_aside

_AGAIN_S = 0.5


def show_logs(
    client: Client, run: str, task: str, *, streams: Sequence[str], attempt: int | None, follow: bool
) -> None:
    """Print streams of an attempt; with `follow`, until it can print no more."""
    chosen = attempt
    starts = dict.fromkeys(streams, 0)
    anything = False
    while True:
        open_streams = False
        for stream in streams:
            more, chosen, told = _drain(client, run, task, stream, chosen, starts)
            open_streams = open_streams or more
            anything = anything or told
        if not follow or not open_streams:
            break
        time.sleep(_AGAIN_S)
    if not anything:
        say_aside(f"{task} has printed nothing{'' if attempt is None else f' in attempt {attempt}'}.")


def _drain(  # noqa: PLR0917 - one stream, and where it stands
    client: Client, run: str, task: str, stream: str, attempt: int | None, starts: dict[str, int]
) -> tuple[bool, int, bool]:
    """Print what is there; return whether more may come, of which attempt, and whether there was anything."""
    told = False
    out = sys.stdout if stream == "stdout" else sys.stderr
    while True:
        page = client.log_page(
            run, task, stream=cast("Literal['stdout', 'stderr']", stream), attempt=attempt, start=starts[stream]
        )
        for piece in page.pieces:
            if piece.start > starts[stream]:
                say_aside(f"\n[{piece.start - starts[stream]} characters of {stream} are missing here]")
            out.write(clean(piece.text))
            starts[stream] = piece.start + len(piece.text)
            told = True
        out.flush()
        if not page.pieces:
            return page.open, page.attempt, told
