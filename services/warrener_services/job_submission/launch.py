"""What a job needs before it starts: its folder and files, its environment, its command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from warrener.errors import Cause, TaskFailed
from warrener.messages import Order
from warrener.sections import JobSection
from warrener.target import Job
from warrener_services.job_submission.redaction import REFERENCE, fetch

PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
"""What of the program's own environment a job gets; the rest may hold passwords."""


def clean_surroundings() -> dict[str, str]:
    """Return what a job may see of this program's environment."""
    found = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8"} | found


def read_section(order: Order) -> JobSection:
    """Check the rendered section of an order; raises TaskFailed(REFUSED) with the first problem."""
    try:
        return JobSection.model_validate(order.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "the section"
        raise TaskFailed(Cause.REFUSED, f"the job of task {order.task_name}: {place}: {first['msg']}") from None


def make_job(order: Order, section: JobSection, folder: Path, base: Mapping[str, str], secrets: Path) -> Job:
    """Put the job together; raises TaskFailed(REFUSED) when a secret cannot be had."""
    plain = {name: value for name, value in section.env.items() if not value.startswith(REFERENCE)}
    env = {**base, **plain}
    if section.environment is not None:
        home = section.environment.path
        env |= {"VIRTUAL_ENV": home, "PATH": f"{home}/bin:{env['PATH']}"}
        env.pop("PYTHONHOME", None)
    own = {"WARRENER_RUN": order.run, "WARRENER_TASK": order.task_name, "WARRENER_ATTEMPT": str(order.attempt)}
    secret = section.env.keys() - plain.keys() - own.keys() - {"WARRENER_OUTPUT"}
    return Job(
        argv=section.argv,
        folder=folder,
        env=env | own,
        secrets={name: fetch(section.env[name], secrets) for name in sorted(secret)},
        timeout_s=order.timeout_s,
    )


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Make the run's folder and write the job's files below it, through no symbolic link."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, text in files.items():
                _write_below(top, name, text)
        finally:
            os.close(top)
    except OSError as error:
        raise TaskFailed(Cause.ERROR, f"the run's folder {folder} cannot be prepared: {error}") from error


def _write_below(top: int, name: str, text: str) -> None:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts:
        raise TaskFailed(Cause.REFUSED, f"files: {name[:80]!r} must be a path below the run's folder")
    folder = os.dup(top)
    try:
        for part in parts[:-1]:
            folder = _entered(folder, part)
        # Put in place by a rename: neither a link nor a file that somebody has open is written through.
        new = f".{parts[-1]}.warrener-new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(new, flags, 0o666, dir_fd=folder), "wb") as file:  # noqa: PTH123 - it is a descriptor
            file.write(text.encode("utf-8", "surrogateescape"))
        os.rename(new, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        raise TaskFailed(
            Cause.REFUSED, f"files: {name[:80]!r} cannot be written below the run's folder: {error.strerror}"
        ) from error
    finally:
        os.close(folder)


def _entered(folder: int, part: str) -> int:
    """Exchange a folder for one below it, which is made if it is not there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, dir_fd=folder)
    below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    os.close(folder)
    return below
