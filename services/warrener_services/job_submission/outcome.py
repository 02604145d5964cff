"""What the end of a job means: an output, or a failure that says why."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import NoReturn

from warrener.errors import Cause, TaskFailed
from warrener.messages import MAX_OUTPUT_BYTES, Json
from warrener.target import Ended
from warrener_services.job_submission.redaction import Redaction
from warrener_services.job_submission.regular import open_regular

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""NUL as JSON writes it; not a backslash followed by u0000."""


def output_of(ended: Ended, folder: Path, last_lines: str, redaction: Redaction, *, timeout_s: float | None) -> Json:
    """Return the output of a job that ended well; raise TaskFailed for any other."""
    if ended.stopped == "timeout":
        _fail(
            Cause.TIMEOUT,
            f"it ran longer than its timeout of {timeout_s:g} s and was ended",
            ended,
            last_lines,
        )
    if ended.stopped == "lease":
        _fail(
            Cause.LOST,
            "its lease ran out: the worker had no answer from a scheduler; it was ended",
            ended,
            last_lines,
        )
    if ended.stopped == "not yours":  # by an earlier life of the worker, which could not forget it any more
        _fail(Cause.LOST, "it was ended: its lease was running out, or the attempt is another's", ended, last_lines)
    if ended.stopped is not None:
        _fail(Cause.CANCELLED, f"it was stopped: {ended.stopped}", ended, last_lines)
    if ended.error is not None:
        _fail(Cause.ERROR, redaction.text(ended.error), ended, last_lines)
    if ended.exit_code != 0:
        _fail(Cause.EXIT, _how_it_exited(ended.exit_code), ended, last_lines)
    return redaction.json(_read_output(folder / "output.json", ended))


def _fail(cause: Cause, what: str, ended: Ended, last_lines: str) -> NoReturn:
    message = f"{what}\n{last_lines}" if last_lines else what
    raise TaskFailed(cause, message, exit_code=ended.exit_code)


def _how_it_exited(code: int) -> str:
    if code > 0:
        return f"the command ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the command was killed by {name}"


def _read_output(path: Path, ended: Ended) -> Json:
    raw = _raw_output(path)
    if raw is None:
        return {"exit_code": ended.exit_code}
    if len(raw) > MAX_OUTPUT_BYTES:
        raise _bad_output(f"is larger than {MAX_OUTPUT_BYTES} bytes: write data to a file and stage it")
    try:
        output = json.loads(raw, parse_constant=_refuse_constant)
        text = json.dumps(output, ensure_ascii=False)
        text.encode()  # half a surrogate pair has no UTF-8
    except json.JSONDecodeError as error:
        raise _bad_output(f"is not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise _bad_output(f"is not JSON that can be kept: {error}") from error
    if _NUL.search(text):
        raise _bad_output("contains the character NUL, which databases do not keep")
    return output


def _raw_output(path: Path) -> bytes | None:
    """Return at most one byte more than is allowed. The job owns the file: it may be anything."""
    try:
        with open_regular(path) as file:
            return file.read(MAX_OUTPUT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _bad_output(f"cannot be read: {error.strerror}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _bad_output(why: str) -> TaskFailed:
    return TaskFailed(Cause.ERROR, f"the command ended well, but its output (WARRENER_OUTPUT) {why}", exit_code=0)
