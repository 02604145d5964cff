"""What every transfer promises, on each of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from warrener.errors import Cause, TaskFailed
from warrener.ids import RunId
from warrener.site import Site
from warrener.transfer import Transfer
from warrener.transfers import open_transfers
from webserver import Page, WebServer

DATA = os.urandom(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
RUN = RunId("0123456789abcdef")


def unheard(_bytes: int) -> None:
    pass


@dataclass
class Place:
    """Somewhere that a transfer fetches from."""

    transfer: Transfer
    run: Path
    folder: Path
    web: WebServer | None

    def holds(self, name: str, data: bytes) -> str:
        if self.web is None:
            (self.folder / name).write_bytes(data)
        else:
            self.web.pages[f"/{name}"] = Page(data)
        return self.url(name)

    def url(self, name: str) -> str:
        return f"file:{self.folder}/{name}" if self.web is None else self.web.url(f"/{name}")


def transfers_of(root: Path, folder: Path, web: WebServer | None) -> Transfer:
    hosts = (f"127.0.0.1:{web.port}",) if web else ()
    return open_transfers(Site("here", root), roots=(folder,), hosts=hosts)["http" if web else "file"]


@pytest.fixture(params=["file", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    site = Site("here", tmp_path / "site")
    if request.param == "file":
        yield Place(transfers_of(site.root, folder, None), site.run_folder(RUN), folder, None)
        return
    with WebServer().running() as web:
        yield Place(transfers_of(site.root, folder, web), site.run_folder(RUN), folder, web)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_file_arrives_whole_with_its_size_and_checksum(place: Place) -> None:
    heard: list[int] = []
    to = place.run / "in/deep/data.bin"
    there = await place.transfer.fetch(place.holds("data.bin", DATA), to, sha256=DIGEST, progress=heard.append)
    assert to.read_bytes() == DATA
    assert (there.path, there.size_bytes, there.sha256) == (str(to), len(DATA), DIGEST)
    assert heard[-1] == len(DATA)
    assert heard == sorted(heard)
    assert files_below(place.run) == [to]


async def test_an_empty_file_arrives(place: Place) -> None:
    there = await place.transfer.fetch(place.holds("nil", b""), place.run / "nil", sha256=None, progress=unheard)
    assert there.size_bytes == 0
    assert (place.run / "nil").read_bytes() == b""


async def test_repeating_replaces_what_is_there(place: Place) -> None:
    to = place.run / "data"
    await place.transfer.fetch(place.holds("data", b"old"), to, sha256=None, progress=unheard)
    await place.transfer.fetch(place.holds("data", b"new"), to, sha256=None, progress=unheard)
    assert to.read_bytes() == b"new"


async def test_a_wrong_checksum_names_both_and_keeps_the_old_file(place: Place) -> None:
    to = place.run / "data"
    to.parent.mkdir(parents=True)
    to.write_bytes(b"old")
    with pytest.raises(TaskFailed) as failed:
        await place.transfer.fetch(place.holds("data", DATA), to, sha256="0" * 64, progress=unheard)
    assert failed.value.cause is Cause.STAGE
    assert DIGEST in str(failed.value)
    assert "0" * 64 in str(failed.value)
    assert to.read_bytes() == b"old"
    assert files_below(place.run) == [to]


async def test_a_missing_source_is_named(place: Place) -> None:
    with pytest.raises(TaskFailed, match="nowhere") as failed:
        await place.transfer.fetch(place.url("nowhere"), place.run / "x", sha256=None, progress=unheard)
    assert failed.value.cause is Cause.STAGE
    assert files_below(place.run) == []


@pytest.mark.parametrize("to", ["../x", "in/../../x", "../../../../x"])
async def test_nothing_is_written_outside_the_run(place: Place, to: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        await place.transfer.fetch(place.holds("a", b"a"), place.run / to, sha256=None, progress=unheard)
    assert failed.value.cause is Cause.REFUSED


async def test_a_link_below_the_run_is_not_followed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place.run.mkdir(parents=True)
    (place.run / "link").symlink_to(outside)
    with pytest.raises(TaskFailed, match="symbolic link") as failed:
        await place.transfer.fetch(place.holds("a", b"a"), place.run / "link/a", sha256=None, progress=unheard)
    assert failed.value.cause is Cause.REFUSED
    assert list(outside.iterdir()) == []


async def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(place: Place, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    place.run.mkdir(parents=True)
    (place.run / "a").symlink_to(victim)
    await place.transfer.fetch(place.holds("a", b"a"), place.run / "a", sha256=None, progress=unheard)
    assert victim.read_bytes() == b"mine"
    assert not (place.run / "a").is_symlink()


async def test_a_folder_in_the_place_of_the_file_fails_with_a_sentence(place: Place) -> None:
    (place.run / "a").mkdir(parents=True)
    with pytest.raises(TaskFailed, match="directory") as failed:
        await place.transfer.fetch(place.holds("a", b"a"), place.run / "a", sha256=None, progress=unheard)
    assert failed.value.cause is Cause.STAGE
    assert files_below(place.run) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_full_disk_names_the_bytes_needed_and_leaves_no_rest(place: Place, tiny_disk: Path) -> None:
    transfer = transfers_of(tiny_disk, place.folder, place.web)
    run = Site("tiny", tiny_disk).run_folder(RUN)
    with pytest.raises(TaskFailed, match="the disk is full: 3000000 bytes are needed") as failed:
        await transfer.fetch(place.holds("big", DATA * 10), run / "big", sha256=None, progress=unheard)
    assert failed.value.cause is Cause.STAGE
    assert files_below(tiny_disk) == []


async def test_a_disk_that_fills_on_the_way_leaves_no_rest(tmp_path: Path, tiny_disk: Path) -> None:
    run = Site("tiny", tiny_disk).run_folder(RUN)
    with WebServer().running() as web:
        web.pages["/big"] = Page(DATA * 10, unannounced=True)
        transfer = transfers_of(tiny_disk, tmp_path, web)
        with pytest.raises(TaskFailed, match="the disk is full: it gave way after") as failed:
            await transfer.fetch(web.url("/big"), run / "big", sha256=None, progress=unheard)
    assert failed.value.cause is Cause.STAGE
    assert files_below(tiny_disk) == []
