"""How an attempt ended, bounded and clean, whatever the performer returned or raised."""

from __future__ import annotations

import errno
import json
import traceback
from dataclasses import dataclass, replace

from pydantic_core import from_json

from warrener.errors import Cause, TaskFailed
from warrener.ids import AttemptRef
from warrener.messages import MAX_OUTPUT_BYTES, Json, Outcome, Report

MAX_MESSAGE = 16_000
_MAX_TRACEBACK_BYTES = 4096
_FIXED_BYTES = 400
_HOST_IS_OUT_OF = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE,
        errno.ESTALE,
    }
)  # fmt: skip
"""Errors that a host has, whatever is done on it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a report says, before it is known under which token it goes."""

    outcome: Outcome
    cause: Cause | None = None
    message: str = ""
    output: Json = None
    exit_code: int | None = None
    seconds: float = 0.0
    blames_host: bool = False
    bytes: int = _FIXED_BYTES
    """An upper bound of the report's size as JSON."""

    def report(self, ref: AttemptRef, token: str) -> Report:
        return Report(
            run=ref.run, n=ref.n, attempt=ref.attempt, token=token, outcome=self.outcome, cause=self.cause,
            message=self.message, output=self.output, exit_code=self.exit_code, seconds=self.seconds,
            blames_host=self.blames_host,
        )  # fmt: skip


def succeeded(output: Json, seconds: float) -> Ending:
    """End with an output, or as failed if the output cannot travel."""
    if output is None or output is True or output is False:
        return Ending(Outcome.SUCCEEDED, output=output, seconds=seconds)
    try:
        raw = json.dumps(output, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        if len(raw) > MAX_OUTPUT_BYTES:
            return failed(Cause.ERROR, _too_large(len(raw)), seconds)
        # Read back as the scheduler will read it, inside a message: tuples become lists, too deep a nest is refused.
        output = from_json(b"[[[[%b]]]]" % raw)[0][0][0][0]
    except (TypeError, ValueError, RecursionError) as error:
        sentence = f"the output is not JSON: {error}; return text, numbers, booleans, lists and objects of these"
        return failed(Cause.ERROR, sentence, seconds)
    return Ending(Outcome.SUCCEEDED, output=output, seconds=seconds, bytes=_FIXED_BYTES + len(raw))


def failed(cause: Cause, message: str, seconds: float, exit_code: int | None = None) -> Ending:
    """End badly, with a sentence for people; it is cleaned and cut."""
    text = clean(message)[:MAX_MESSAGE]
    return Ending(Outcome.FAILED, cause, text, None, exit_code, seconds, bytes=_FIXED_BYTES + 6 * len(text))


def failed_by(error: BaseException, seconds: float) -> Ending:
    """End as a performer's exception says: TaskFailed knows its cause, anything else is an error with its traceback."""
    if isinstance(error, TaskFailed):
        ending = failed(error.cause, str(error) or f"failed: {error.cause}", seconds, error.exit_code)
        return replace(ending, blames_host=error.blames_host or _is_the_hosts(error))
    what = "".join(traceback.format_exception_only(error)).strip()
    lines = "".join(traceback.format_tb(error.__traceback__))
    shown = lines.encode("utf-8", "replace")[-_MAX_TRACEBACK_BYTES:].decode("utf-8", "ignore")
    ending = failed(Cause.ERROR, f"{what[: MAX_MESSAGE // 2]}\n{shown}" if shown else what, seconds)
    return replace(ending, blames_host=_is_the_hosts(error))


def _is_the_hosts(error: BaseException) -> bool:
    """Tell whether an error, or what it came from, is one that its host has and not the work."""
    seen: BaseException | None = error
    for _ in range(10):
        if isinstance(seen, OSError) and seen.errno in _HOST_IS_OUT_OF:
            return True
        seen = seen.__cause__ if seen is not None else None
    return False


def cancelled(seconds: float) -> Ending:
    """End because somebody asked for it."""
    return Ending(Outcome.CANCELLED, Cause.CANCELLED, "stopped on request", seconds=seconds)


def clean(text: str) -> str:
    """Replace what neither JSON in UTF-8 nor a database takes: NUL and halves of surrogate pairs."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _too_large(size: int) -> str:
    return (
        f"the output has {size:,} bytes as JSON; at most {MAX_OUTPUT_BYTES:,} travel: write the data to a file,"
        " return its path, and stage it"
    )
