"""What every kind of environment promises, with each of its builders."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from warrener.environments.venv import Builder, VenvEnvironment
from warrener.errors import Cause, TaskFailed

LOCK = "six==1.16.0 --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254\n"
SIX = {"requirements": ["six==1.16.0"]}
BUILDERS: tuple[Builder, ...] = ("uv", "pip")


@dataclass
class Heard:
    """What a builder printed, and a way to wait for words in it."""

    lines: list[str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, _stream: str, line: str) -> None:
        self.lines.append(line)
        self.more.set()

    async def says(self, words: str) -> None:
        while not any(words in line for line in self.lines):
            self.more.clear()
            await self.more.wait()


@pytest.fixture(params=BUILDERS)
def venvs(request: pytest.FixtureRequest, tmp_path: Path) -> VenvEnvironment:
    environ = {**os.environ, "WARRENER_BROKER": "amqp://u:s3cr3t@h/"}
    return VenvEnvironment(tmp_path / "envs", environ=environ, builder=request.param)


@pytest.fixture
def uv(tmp_path: Path) -> VenvEnvironment:
    """Only one builder, where the promise is kept by code that all share: pip takes seconds for each venv."""
    return VenvEnvironment(tmp_path / "envs", environ={**os.environ, "WARRENER_BROKER": "amqp://u:s3cr3t@h/"})


def run(*argv: object) -> str:
    return subprocess.run([str(part) for part in argv], check=True, capture_output=True, text=True).stdout.strip()


def package(folder: Path, build: str) -> str:
    """Make a source package `slow`, whose build runs this code first; return its requirement."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slow"\nversion = "1"\n'
    )
    (folder / "backend.py").write_text(
        "import os, sys, zipfile\n"
        "def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):\n"
        + textwrap.indent(textwrap.dedent(build), "    ")
        + textwrap.dedent("""
            name = "slow-1-py3-none-any.whl"
            with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
                wheel.writestr("slow.py", "x = 1\\n")
                info = "slow-1.dist-info/"
                wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1\\n")
                kind = "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
                wheel.writestr(info + "WHEEL", kind)
                wheel.writestr(info + "RECORD", f"slow.py,,\\n{info}METADATA,,\\n{info}WHEEL,,\\n{info}RECORD,,\\n")
            return name
            """).replace("\n", "\n    ")
    )  # fmt: skip
    return f"slow @ file://{folder}"


def rubble(envs: Path) -> list[str]:
    return [path.name for path in envs.iterdir() if not path.name.endswith(".lock")]


async def test_an_environment_has_its_packages_and_is_found_again(venvs: VenvEnvironment) -> None:
    heard = Heard()
    built = await venvs.build(SIX, log=heard)
    assert not built.reused
    assert run(built.python, "-c", "import six; print(six.__file__)").startswith(str(built.site_packages))
    assert built.path.name == built.digest[:32]
    assert any("six" in line for line in heard.lines)
    again = await venvs.build({"requirements": (" six==1.16.0 ",), "manager": "venv"}, log=heard)
    assert again.reused
    assert (again.path, again.digest) == (built.path, built.digest)


async def test_many_at_once_build_it_once(uv: VenvEnvironment) -> None:
    heard = Heard()
    async with asyncio.TaskGroup() as group:
        building = [group.create_task(uv.build({}, log=heard)) for _ in range(4)]
    built = [one.result() for one in building]
    assert sorted(one.reused for one in built) == [False, True, True, True]
    assert len({one.path for one in built}) == 1
    assert sum("building" in line and "for Python" in line for line in heard.lines) == 1


async def test_a_failed_build_says_why_and_leaves_nothing(venvs: VenvEnvironment, tmp_path: Path) -> None:
    wanted = package(tmp_path / "broken", "sys.exit('no compiler for rabbits')")
    with pytest.raises(TaskFailed, match="no compiler for rabbits") as failed:
        await venvs.build({"requirements": [wanted]}, log=Heard())
    assert failed.value.cause is Cause.ENV
    assert rubble(tmp_path / "envs") == []


async def test_a_build_sees_no_secret_of_the_worker(uv: VenvEnvironment, tmp_path: Path) -> None:
    wanted = package(
        tmp_path / "curious", "open(os.path.join(os.path.dirname(__file__), 'seen'), 'w').write(str(dict(os.environ)))"
    )
    await uv.build({"requirements": [wanted]}, log=Heard())
    seen = (tmp_path / "curious/seen").read_text()
    assert "UV_SYSTEM_CERTS" in seen
    assert "s3cr3t" not in seen


async def test_hashes_in_a_lock_are_required_of_all(uv: VenvEnvironment, tmp_path: Path) -> None:
    assert not (await uv.build({"lock": LOCK}, log=Heard())).reused
    with pytest.raises(TaskFailed, match=r"(?i)hash"):
        await uv.build({"lock": LOCK + "idna==3.10\n"}, log=Heard())
    assert len(rubble(tmp_path / "envs")) == 1


async def test_a_wrong_hash_in_a_lock_fails_the_build(venvs: VenvEnvironment, tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match=r"(?i)hash"):
        await venvs.build({"lock": LOCK.replace("8abb", "0000")}, log=Heard())
    assert rubble(tmp_path / "envs") == []


async def test_a_cancelled_build_leaves_no_process_and_nothing_to_find(venvs: VenvEnvironment, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    wanted = package(
        tmp_path / "slow", f"open({str(begun)!r}, 'w').write(str(os.getpid()))\nimport time\ntime.sleep(60)"
    )
    building = asyncio.create_task(venvs.build({"requirements": [wanted]}, log=Heard()))
    backend = int(await asyncio.to_thread(begun.read_text))
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert await asyncio.to_thread(is_gone, backend)
    assert rubble(tmp_path / "envs") == []


def is_gone(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        import select

        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)


WORKER = """
import asyncio, json, os, sys
from pathlib import Path
from warrener.environments.venv import VenvEnvironment
venvs = VenvEnvironment(Path(sys.argv[1]), environ=os.environ, builder=sys.argv[2])
built = asyncio.run(venvs.build(json.loads(sys.argv[3]), log=lambda stream, line: print(line, flush=True)))
print("reused" if built.reused else "new", built.path)
"""


async def worker(envs: Path, builder: str, recipe: dict[str, Any]) -> asyncio.subprocess.Process:
    import json

    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, str(envs), builder, json.dumps(recipe), stdout=asyncio.subprocess.PIPE
    )


async def test_two_processes_at_once_build_it_once(tmp_path: Path) -> None:
    workers = [await worker(tmp_path / "envs", "uv", {}) for _ in range(2)]
    printed = [(await one.communicate())[0].decode().splitlines()[-1].split() for one in workers]
    assert sorted(word for word, _ in printed) == ["new", "reused"]
    assert printed[0][1] == printed[1][1]


async def test_while_the_builder_of_a_killed_worker_lives_nobody_builds_over_it(
    uv: VenvEnvironment, tmp_path: Path
) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    os.mkfifo(begun)
    os.mkfifo(gate)
    wanted = package(
        tmp_path / "slow",
        f"if os.path.exists({str(gate)!r}):\n"
        f"    open({str(begun)!r}, 'w').write(str(os.getpid()))\n"
        f"    open({str(gate)!r}).read()",
    )
    recipe = {"requirements": [wanted]}
    killed = await worker(tmp_path / "envs", "uv", recipe)
    await asyncio.to_thread(begun.read_text)
    killed.kill()
    await killed.communicate()

    heard = Heard()
    building = asyncio.create_task(uv.build(recipe, log=heard))
    await heard.says("waiting for it")
    held = await asyncio.to_thread(gate.open, "w")
    gate.unlink()
    held.close()
    built = await building
    assert not built.reused
    assert run(built.python, "-c", "import slow; print(slow.x)") == "1"


async def test_a_killed_builder_is_a_failure_and_leaves_nothing(uv: VenvEnvironment, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    wanted = package(
        tmp_path / "slow",
        f"open({str(begun)!r}, 'w').write(str(os.getpgid(0)))\nimport time\ntime.sleep(60)",
    )
    building = asyncio.create_task(uv.build({"requirements": [wanted]}, log=Heard()))
    os.kill(int(await asyncio.to_thread(begun.read_text)), 9)
    with pytest.raises(TaskFailed, match="killed by signal 9") as failed:
        await building
    assert failed.value.cause is Cause.ENV
    assert rubble(tmp_path / "envs") == []


async def test_rubble_and_broken_environments_are_built_anew(uv: VenvEnvironment) -> None:
    built = await uv.build({}, log=Heard())
    (built.path / ".complete").unlink()
    (built.path / "rest").touch()
    again = await uv.build({}, log=Heard())
    assert not again.reused
    assert not (again.path / "rest").exists()
    again.python.unlink()
    again.python.symlink_to("/nonexistent/python")
    assert not (await uv.build({}, log=Heard())).reused


async def test_a_python_that_is_not_there_is_named_and_not_downloaded(uv: VenvEnvironment) -> None:
    with pytest.raises(TaskFailed, match=r"no Python 3\.3 on this host: install python3\.3") as failed:
        await uv.build({"python": "3.3"}, log=Heard())
    assert failed.value.cause is Cause.ENV


async def test_a_python_by_version_is_found_on_the_path(uv: VenvEnvironment) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    built = await uv.build({"python": version}, log=Heard())
    assert run(built.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == version


async def test_what_is_no_recipe_is_refused(uv: VenvEnvironment) -> None:
    with pytest.raises(TaskFailed, match="requirement") as failed:
        await uv.build({"requirements": ["--index-url=http://evil/"]}, log=Heard())
    assert failed.value.cause is Cause.REFUSED


@pytest.fixture
def without_ensurepip(tmp_path: Path) -> str:
    """A Python like that of Debian without python3-venv."""
    python = tmp_path / "python-without-ensurepip"
    real = getattr(sys, "_base_executable", sys.executable)
    python.write_text(f'#!/bin/sh\n{real} "$@" | sed \'s/"ensurepip": true/"ensurepip": false/\'\n')
    python.chmod(0o755)
    return str(python)


async def test_without_ensurepip_pip_names_the_package_to_install(tmp_path: Path, without_ensurepip: str) -> None:
    venvs = VenvEnvironment(tmp_path / "envs", environ=os.environ, builder="pip", python=without_ensurepip)
    with pytest.raises(TaskFailed, match="install python3-venv"):
        await venvs.build({}, log=Heard())


async def test_without_ensurepip_uv_does_it(tmp_path: Path, without_ensurepip: str) -> None:
    venvs = VenvEnvironment(tmp_path / "envs", environ=os.environ, python=without_ensurepip)
    assert not (await venvs.build({}, log=Heard())).reused
