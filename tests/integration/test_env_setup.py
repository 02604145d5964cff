"""Env tasks, from order to output."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from warrener.environments import open_environments
from warrener.errors import Cause, TaskFailed
from warrener.ids import BootId, RunId
from warrener.messages import Json, Kind, Order
from warrener.performer import Assignment
from warrener.site import Site
from warrener_services.env_setup.performer import EnvPerformer


def assignment(site: Site, body: dict[str, Json], printed: list[str]) -> Assignment:
    order = Order(
        run=RunId("0123456789abcdef"), n=0, attempt=1, task_name="env", workflow="w", task_kind=Kind.ENV,
        body=body,
    )  # fmt: skip
    return Assignment(order, site, "", BootId("b"), None, lambda _stream, text: printed.append(text))


async def test_an_env_task_gives_what_a_job_needs(tmp_path: Path) -> None:
    site = Site("here", tmp_path)
    performer = EnvPerformer(open_environments(site, environ=os.environ))
    printed: list[str] = []
    outputs = [await performer.perform(assignment(site, {"requirements": ["six==1.16.0"]}, printed)) for _ in range(2)]
    assert [output.pop("reused") for output in outputs] == [False, True]
    assert outputs[0] == outputs[1]
    assert sorted(outputs[0]) == ["digest", "path", "python", "site_packages"]
    subprocess.run([outputs[0]["python"], "-c", "import six"], check=True)
    assert Path(outputs[0]["path"]).parent == site.environments
    assert Path(outputs[0]["site_packages"], "six.py").is_file()
    assert "built in" in "".join(printed)
    assert printed[-1].startswith("reused ")


async def test_an_unknown_manager_is_refused_and_the_known_ones_named(tmp_path: Path) -> None:
    site = Site("here", tmp_path)
    with pytest.raises(TaskFailed, match="only of: venv") as failed:
        await EnvPerformer(open_environments(site, environ={})).perform(assignment(site, {"manager": "conda"}, []))
    assert failed.value.cause is Cause.REFUSED


async def test_a_cancelled_task_leaves_nothing(tmp_path: Path) -> None:
    site = Site("here", tmp_path)
    performer = EnvPerformer(open_environments(site, environ=os.environ, builder="pip"))
    begun = asyncio.Event()
    asked = assignment(site, {"requirements": ["six==1.16.0"]}, [])
    asked.log = lambda _stream, _text: begun.set()
    performing = asyncio.create_task(performer.perform(asked))
    await begun.wait()
    performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing
    assert all(path.name.endswith(".lock") for path in site.environments.iterdir())
