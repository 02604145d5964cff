"""Virtual environments, built by uv, or by `python -m venv` and pip where uv is missing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from warrener.environment import Built, Log
from warrener.environments.completeness import clear, is_complete, only_builder, publish
from warrener.environments.interpreter import Interpreter, find_python
from warrener.environments.steps import run_step
from warrener.environments.surroundings import for_builders
from warrener.errors import Cause, TaskFailed
from warrener.sections import EnvSection
from warrener.threads import in_thread

Builder = Literal["auto", "uv", "pip"]

_TAIL_LINES = 20
_TAIL_CHARACTERS = 3000


class VenvEnvironment:
    """Builds below `<site>/envs`; the recipe is the section of an env task.

    `environ` is what the worker was started with; `python` the interpreter for recipes that name none
    (default: the one that this worker runs on).
    """

    manager = "venv"

    def __init__(
        self, envs: Path, *, environ: Mapping[str, str], builder: Builder = "auto", python: str | None = None
    ) -> None:
        self._envs = envs
        self._environ = for_builders(environ)
        self._builder = builder
        self._python = python

    async def build(self, recipe: Mapping[str, Any], *, log: Log) -> Built:
        began_s = asyncio.get_running_loop().time()
        section = _checked(recipe)
        python = await find_python(section.python, self._environ, self._python)
        digest = digest_of(section, python)
        folder = self._envs / digest[:32]
        try:
            reused = is_complete(folder, digest) or await self._built_once(section, python, folder, digest, log)
        except OSError as error:
            raise TaskFailed(Cause.ENV, f"cannot build the environment {folder}: {error}") from error
        return Built(
            path=folder,
            digest=digest,
            python=folder / "bin" / "python",
            site_packages=folder / "lib" / f"python{python.minor}" / "site-packages",
            reused=reused,
            seconds=asyncio.get_running_loop().time() - began_s,
        )

    async def _built_once(self, section: EnvSection, python: Interpreter, folder: Path, digest: str, log: Log) -> bool:
        """Build, unless somebody else did while we waited for the lock; tell whether it was somebody else."""
        self._envs.mkdir(parents=True, exist_ok=True)

        def say_why() -> None:
            log("stdout", f"another task is building the environment {folder.name}: waiting for it\n")

        async with only_builder(folder, on_wait=say_why) as lock:
            if is_complete(folder, digest):
                return True
            await in_thread(clear, folder)
            try:
                await self._build(section, python, folder, lock, log)
                await in_thread(publish, folder, digest)
            except BaseException:
                await in_thread(clear, folder)
                raise
            return False

    async def _build(self, section: EnvSection, python: Interpreter, folder: Path, lock: int, log: Log) -> None:
        uv = self._uv()
        if uv is None and not python.has_ensurepip:
            raise TaskFailed(
                Cause.ENV,
                f"{python.executable} cannot make environments: install python3-venv (on Debian and Ubuntu:"
                f" apt install python{python.minor}-venv), or the package uv beside warrener",
            )
        log("stdout", f"building {folder.name} for Python {python.version} with {'uv' if uv else 'pip'}\n")
        create, install = _uv_steps(uv, python, folder) if uv else _pip_steps(python, folder)
        await self._step(create, folder.parent, lock, log)
        wanted, options = _wanted(section)
        if not wanted:
            return
        file = folder / "requirements.txt"
        await in_thread(file.write_text, wanted, encoding="utf-8")
        await self._step([*install, *options, "--requirement", str(file)], folder, lock, log)

    async def _step(self, argv: Sequence[str], folder: Path, lock: int, log: Log) -> None:
        tail: deque[str] = deque(maxlen=_TAIL_LINES)

        def hear(stream: Literal["stdout", "stderr"], line: str) -> None:
            tail.append(line)
            log(stream, line)

        code = await run_step(argv, environ=self._environ, folder=folder, hold=lock, log=hear)
        if code != 0:
            ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            said = "".join(tail)[-_TAIL_CHARACTERS:].rstrip() or "it printed nothing"
            step = " ".join([Path(argv[0]).name, *argv[1:4]])
            raise TaskFailed(Cause.ENV, f"cannot build the environment: `{step} …` {ended}:\n{said}")

    def _uv(self) -> str | None:
        if self._builder == "pip":
            return None
        try:
            from uv import find_uv_bin

            return str(find_uv_bin())
        except (ImportError, FileNotFoundError) as error:
            if self._builder == "uv":
                raise TaskFailed(
                    Cause.ENV, "the worker is told to build with uv, which is missing: install the package uv"
                ) from error
            return None


def digest_of(section: EnvSection, python: Interpreter) -> str:
    """Name an environment by all that decides what is in it: packages, Python, platform.

    `python` of the recipe is not in it, only what it led to; nor is the order of requirements. A requirement
    without a version means what it meant when its environment was first built here.
    """
    recipe = {
        "manager": section.manager,
        "lock": section.lock,
        "requirements": None if section.lock else sorted(set(section.requirements)),
        "platform": python.platform,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _checked(recipe: Mapping[str, Any]) -> EnvSection:
    try:
        return EnvSection.model_validate(dict(recipe))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(step) for step in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise TaskFailed(Cause.REFUSED, f"this is no recipe of an environment: {faults}") from error


def _wanted(section: EnvSection) -> tuple[str, list[str]]:
    """Return the text of the requirements file, and the options it needs."""
    if section.lock:
        return section.lock, ["--require-hashes"] if "--hash=" in section.lock else []
    return "".join(f"{line}\n" for line in section.requirements), []


def _uv_steps(uv: str, python: Interpreter, folder: Path) -> tuple[list[str], list[str]]:
    create = [uv, "venv", "--quiet", "--no-project", "--python", python.executable, str(folder)]
    # Byte code now: jobs may not write here, and several start at once.
    return create, [uv, "pip", "install", "--python", str(folder / "bin" / "python"), "--compile-bytecode"]


def _pip_steps(python: Interpreter, folder: Path) -> tuple[list[str], list[str]]:
    create = [python.executable, "-m", "venv", str(folder)]
    return create, [str(folder / "bin" / "python"), "-m", "pip", "install"]
