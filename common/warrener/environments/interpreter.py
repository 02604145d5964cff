"""Which Python an environment is built for, and what about it decides whether one fits another host."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from warrener.errors import Cause, TaskFailed

_QUESTION = """
import importlib.util, json, os, platform, sys, sysconfig
print(json.dumps({
    "executable": os.path.realpath(sys.executable),
    "implementation": sys.implementation.name,
    "version": platform.python_version(),
    "platform": sysconfig.get_platform(),
    "libc": os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None,
    "ensurepip": importlib.util.find_spec("ensurepip") is not None,
}))
"""
_ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this host. `platform` is what an environment depends on besides the recipe."""

    executable: str
    version: str
    platform: str
    has_ensurepip: bool

    @property
    def minor(self) -> str:
        """The version as folders spell it: "3.11"."""
        return ".".join(self.version.split(".")[:2])


async def find_python(version: str | None, environ: Mapping[str, str], own: str | None = None) -> Interpreter:
    """Find the Python of a version ("3.11", "3.11.2") on PATH, or the worker's own; never download one.

    Raises TaskFailed(ENV) when there is none. `own` is the interpreter of the worker.
    """
    # Inside a venv, sys.executable is the venv's; an environment must outlive that.
    own = own or str(getattr(sys, "_base_executable", sys.executable))
    if version is None:
        found = await _ask(own)
        if found is None:
            raise TaskFailed(Cause.ENV, f"the worker's own Python, {own}, does not run: restart the worker")
        return found
    for candidate in (*_on_path(version, environ), own):
        found = await _ask(candidate)
        if found is not None and f"{found.version}.".startswith(f"{version}."):
            return found
    raise TaskFailed(
        Cause.ENV,
        f"there is no Python {version} on this host: install python{version} on the worker's PATH,"
        " or choose another `python`; warrener downloads no interpreters",
    )


def _on_path(version: str, environ: Mapping[str, str]) -> Iterator[str]:
    numbers = version.split(".")
    for length in range(len(numbers), 0, -1):
        name = "python" + ".".join(numbers[:length])
        for folder in environ.get("PATH", os.defpath).split(os.pathsep):
            if found := shutil.which(name, path=folder or "."):
                yield found


async def _ask(executable: str) -> Interpreter | None:
    """Ask a Python about itself; None if it does not answer (the shims of version switchers may not)."""
    try:
        process = await asyncio.create_subprocess_exec(
            executable,
            "-I",
            "-S",
            "-c",
            _QUESTION,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            answer, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return None
    about = json.loads(answer)
    has_ensurepip = about.pop("ensurepip")
    return Interpreter(about["executable"], about["version"], json.dumps(about, sort_keys=True), has_ensurepip)
