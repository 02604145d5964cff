"""Staging with real files, a real web server and real certificates."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from warrener.errors import Cause, TaskFailed
from warrener.ids import BootId, RunId
from warrener.messages import Json, Kind, Order
from warrener.performer import Assignment
from warrener.site import Site
from warrener.transfers import open_transfers
from warrener.transfers.http import HttpTransfer
from warrener_services.data_staging.performer import StagePerformer, size_text
from webserver import Page, WebServer

RUN = RunId("0123456789abcdef")
OTHER_RUN = RunId("0123456789abcdeg")


def unheard(_bytes: int) -> None:
    pass


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site("here", tmp_path / "site")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "open").mkdir()
    return tmp_path / "open"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer().running() as server:
        yield server


def assignment(site: Site, items: list[dict[str, Json]], printed: list[str]) -> Assignment:
    order = Order(
        run=RUN, n=0, attempt=1, task_name="stage", workflow="w", task_kind=Kind.STAGE,
        body={"items": items},
    )  # fmt: skip
    return Assignment(order, site, "", BootId("b"), None, lambda _stream, text: printed.append(text))


# ── file: ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_spellings_of_a_file_url_name_the_same_file(site: Site, folder: Path) -> None:
    (folder / "a b#1").write_bytes(b"a")
    transfer = open_transfers(site, roots=(folder,))["file"]
    for number, url in enumerate(
        (
            f"file:{folder}/a%20b#1",
            f"file://{folder}/a b#1",
            "file:a%20b#1",
            f"file://localhost{folder}/a%20b%231",
        )
    ):
        to = site.run_folder(RUN) / str(number)
        assert (await transfer.fetch(url, to, sha256=None, progress=unheard)).size_bytes == 1


async def test_a_script_stays_executable_and_never_setuid(site: Site, folder: Path) -> None:
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o4755)
    to = site.run_folder(RUN) / "run.sh"
    await open_transfers(site, roots=(folder,))["file"].fetch("file:run.sh", to, sha256=None, progress=unheard)
    assert to.stat().st_mode & 0o7777 == 0o755 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    "url",
    [
        "file:/etc/passwd",
        "file:///etc/passwd",
        "file:../secret",
        "file:{folder}/../secret",
        "file:{folder}/%2e%2e/secret",
        "file:{folder}x/y",
    ],
)
async def test_what_lies_outside_the_open_folders_is_refused(site: Site, folder: Path, url: str) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    transfer = open_transfers(site, roots=(folder,))["file"]
    local = site.run_folder(RUN) / "x"
    with pytest.raises(TaskFailed) as failed:
        await transfer.fetch(url.format(folder=folder), local, sha256=None, progress=unheard)
    assert failed.value.cause is Cause.REFUSED
    assert "WARRENER_STAGE_ROOTS" in str(failed.value) or "'..'" in str(failed.value)
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_bytes(b"x")
    with pytest.raises(TaskFailed) as failed:
        await transfer.deliver(local, url.format(folder=folder), progress=unheard)
    assert failed.value.cause is Cause.REFUSED


async def test_a_link_out_of_an_open_folder_is_refused(site: Site, folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "file").symlink_to(folder.parent / "secret")
    (folder / "up").symlink_to(folder.parent)
    for path in ("file", "up/secret"):
        with pytest.raises(TaskFailed, match="symbolic link") as failed:
            await open_transfers(site, roots=(folder,))["file"].fetch(
                f"file:{path}", site.run_folder(RUN) / "x", sha256=None, progress=unheard
            )
        assert failed.value.cause is Cause.REFUSED


async def test_a_root_may_itself_be_a_link(site: Site, folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    root = folder.parent / "root"
    root.symlink_to(folder)
    transfer = open_transfers(site, roots=(root,))["file"]
    for url in (f"file:{root}/a", f"file:{folder}/a"):
        await transfer.fetch(url, site.run_folder(RUN) / "a", sha256=None, progress=unheard)


async def test_a_run_reads_its_own_folder_and_no_other_run(site: Site, folder: Path) -> None:
    for run in (RUN, OTHER_RUN):
        site.run_folder(run).mkdir(parents=True)
        (site.run_folder(run) / "a").write_bytes(b"a")
    transfer = open_transfers(site, roots=(folder,))["file"]
    to = site.run_folder(RUN) / "b"
    await transfer.fetch(f"file:{site.run_folder(RUN)}/a", to, sha256=None, progress=unheard)
    with pytest.raises(TaskFailed, match="WARRENER_STAGE_ROOTS"):
        await transfer.fetch(f"file:{site.run_folder(OTHER_RUN)}/a", to, sha256=None, progress=unheard)


async def test_a_directory_and_a_pipe_are_refused_with_a_sentence(site: Site, folder: Path) -> None:
    (folder / "d").mkdir()
    os.mkfifo(folder / "p")
    transfer = open_transfers(site, roots=(folder,))["file"]
    with pytest.raises(TaskFailed, match="is a directory"):
        await transfer.fetch("file:d", site.run_folder(RUN) / "x", sha256=None, progress=unheard)
    with pytest.raises(TaskFailed, match="a pipe"):
        await transfer.fetch("file:p", site.run_folder(RUN) / "x", sha256=None, progress=unheard)


async def test_delivering_makes_the_folders_below_the_root(site: Site, folder: Path) -> None:
    local = site.run_folder(RUN) / "out.csv"
    local.parent.mkdir(parents=True)
    local.write_bytes(b"1,2\n")
    there = await open_transfers(site, roots=(folder,))["file"].deliver(
        local, f"file:{folder}/results/2026/out.csv", progress=unheard
    )
    assert (folder / "results/2026/out.csv").read_bytes() == b"1,2\n"
    assert there.sha256 == hashlib.sha256(b"1,2\n").hexdigest()
    assert len(list((folder / "results/2026").iterdir())) == 1


# ── http: ────────────────────────────────────────────────────────────────────────────────────────────────────────


def http(site: Site, web: WebServer, **options: object) -> HttpTransfer:
    return HttpTransfer(site, (f"127.0.0.1:{web.port}", f"data.example:{web.port}"), **options)  # type: ignore[arg-type]


async def fetch(transfer: HttpTransfer, site: Site, url: str) -> bytes:
    to = site.run_folder(RUN) / "x"
    await transfer.fetch(url, to, sha256=None, progress=unheard)
    return to.read_bytes()


async def refusal(transfer: HttpTransfer, site: Site, url: str) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await fetch(transfer, site, url)
    run = site.run_folder(RUN)
    assert not run.exists() or list(run.iterdir()) == []
    return failed.value


async def test_private_addresses_are_refused_unless_allowed(site: Site, web: WebServer) -> None:
    web.pages["/a"] = Page(b"a")
    failed = await refusal(HttpTransfer(site), site, web.url("/a"))
    assert failed.cause is Cause.REFUSED
    assert "WARRENER_STAGE_HOSTS" in str(failed)
    assert web.hosts == []
    assert await fetch(http(site, web), site, web.url("/a")) == b"a"


async def test_the_connection_goes_to_the_address_that_was_checked(site: Site, web: WebServer) -> None:
    web.pages["/a"] = Page(b"a")
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    assert await fetch(http(site, web, resolve=resolve), site, web.url("/a", "data.example")) == b"a"
    assert asked == ["data.example"]
    assert web.hosts == [f"data.example:{web.port}"]


async def test_one_private_address_among_public_ones_is_enough_to_refuse(site: Site) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["93.184.215.14", "169.254.169.254"]

    failed = await refusal(HttpTransfer(site, resolve=resolve), site, "http://rebind.example/latest/meta-data")
    assert failed.cause is Cause.REFUSED
    assert "169.254.169.254" in str(failed)


async def test_redirects_are_followed_and_each_is_checked(site: Site, web: WebServer) -> None:
    web.pages["/a"] = Page(b"a")
    web.pages["/here"] = Page(status=302, headers={"Location": "/a"})
    web.pages["/inside"] = Page(status=302, headers={"Location": "http://169.254.169.254/"})
    web.pages["/file"] = Page(status=302, headers={"Location": "file:///etc/passwd"})
    web.pages["/round"] = Page(status=307, headers={"Location": "/round"})
    assert await fetch(http(site, web), site, web.url("/here")) == b"a"
    (site.run_folder(RUN) / "x").unlink()
    assert (await refusal(http(site, web), site, web.url("/inside"))).cause is Cause.REFUSED
    assert (await refusal(http(site, web), site, web.url("/file"))).cause is Cause.REFUSED
    assert "more than 5 redirects" in str(await refusal(http(site, web), site, web.url("/round")))


async def test_a_body_that_breaks_off_is_no_file(site: Site, web: WebServer) -> None:
    web.pages["/short"] = Page(b"half", announced_bytes=8)
    failed = await refusal(http(site, web), site, web.url("/short"))
    assert failed.cause is Cause.STAGE
    assert "broke off" in str(failed)


async def test_the_body_is_stored_as_it_travels(site: Site, web: WebServer) -> None:
    web.pages["/a.gz"] = Page(b"not really gzip", headers={"Content-Encoding": "gzip"})
    assert await fetch(http(site, web), site, web.url("/a.gz")) == b"not really gzip"


async def test_status_size_silence_and_absence_have_their_sentences(site: Site, web: WebServer) -> None:
    web.pages["/busy?signature=s3cr3t"] = Page(b"", 503)
    web.pages["/big"] = Page(b"x" * 2000)
    web.pages["/endless"] = Page(b"x" * 2000, unannounced=True)
    web.pages["/slow"] = Page(b"xy", stalls=True)
    busy = str(await refusal(http(site, web), site, web.url("/busy?signature=s3cr3t")))
    assert "HTTP 503" in busy
    assert "s3cr3t" not in busy
    for path in ("/big", "/endless"):
        assert "1000 are allowed" in str(await refusal(http(site, web, limit_bytes=1000), site, web.url(path)))
    quick = http(site, web, timeout=timedelta(milliseconds=200))
    assert "no data for 0.2 s" in str(await refusal(quick, site, web.url("/slow")))
    nobody = HttpTransfer(site, ("127.0.0.1",))
    assert "does not take the connection" in str(await refusal(nobody, site, "http://127.0.0.1:1/a"))


async def test_a_url_with_a_password_is_refused_without_repeating_it(site: Site) -> None:
    failed = await refusal(HttpTransfer(site), site, "https://user:hunter2@data.example/a")
    assert failed.cause is Cause.REFUSED
    assert "hunter2" not in str(failed)


async def test_nothing_is_delivered_over_http(site: Site, web: WebServer) -> None:
    with pytest.raises(TaskFailed) as failed:
        await http(site, web).deliver(site.run_folder(RUN) / "x", web.url("/x"), progress=unheard)
    assert failed.value.cause is Cause.REFUSED


async def test_a_cancelled_fetch_leaves_no_rest(site: Site, web: WebServer) -> None:
    web.pages["/slow"] = Page(b"x" * 4_000_000, stalls=True)
    begun = asyncio.Event()
    fetching = asyncio.create_task(
        http(site, web).fetch(
            web.url("/slow"), site.run_folder(RUN) / "x", sha256=None, progress=lambda _bytes: begun.set()
        )
    )
    await begun.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert list(site.run_folder(RUN).iterdir()) == []


def certificate_of(folder: Path, host: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


async def test_certificates_are_checked_for_the_name_not_the_address(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    certificate, key = certificate_of(tmp_path, "data.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with WebServer(context).running() as web:
        web.pages["/a"] = Page(b"a")
        allowed = (f"data.example:{web.port}", f"other.example:{web.port}")
        transfer = HttpTransfer(site, allowed, resolve=resolve)
        url = web.url("/a", "data.example", "https")
        assert "CERTIFICATE_VERIFY_FAILED" in str(await refusal(transfer, site, url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        wrong = web.url("/a", "other.example", "https")
        assert "CERTIFICATE_VERIFY_FAILED" in str(await refusal(transfer, site, wrong))
        assert await fetch(transfer, site, url) == b"a"


# ── the performer ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stage_task_brings_in_and_out_and_says_what_arrived(site: Site, folder: Path, web: WebServer) -> None:
    (folder / "in.bin").write_bytes(b"x" * 48_200)
    web.pages["/page"] = Page(b"page")
    site.run_folder(RUN).mkdir(parents=True)
    (site.run_folder(RUN) / "result").write_bytes(b"result")
    printed: list[str] = []
    performer = StagePerformer(open_transfers(site, roots=(folder,), hosts=("127.0.0.1",)))
    items: list[dict[str, Json]] = [
        {"from": "file:in.bin", "to": "data/in.bin"},
        {"from": web.url("/page"), "to": "page", "sha256": hashlib.sha256(b"page").hexdigest()},
        {"from": "result", "to": f"file:{folder}/out/result"},
    ]
    for _ in range(2):
        output = await performer.perform(assignment(site, items, printed))
    assert output["folder"] == str(site.run_folder(RUN))
    assert output["files"][0]["path"] == "data/in.bin"
    assert output["files"][0]["size_bytes"] == 48_200
    assert output["files"][2] == {
        "url": f"file:{folder}/out/result",
        "size_bytes": 6,
        "sha256": hashlib.sha256(b"result").hexdigest(),
    }
    assert any("48.2 kB, sha256 " in line for line in printed)
    assert len(printed) == 6


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"from": "a", "to": "b"}, "exactly one"),
        ({"from": "file:a", "to": "../b"}, "run's folder"),
        ({"from": "ftp://host/a", "to": "b"}, "ftp:"),
        ({"form": "file:a", "to": "b"}, "form"),
    ],
)
async def test_items_that_make_no_sense_are_refused(site: Site, folder: Path, item: dict[str, Json], said: str) -> None:
    performer = StagePerformer(open_transfers(site, roots=(folder,)))
    with pytest.raises(TaskFailed, match=said) as failed:
        await performer.perform(assignment(site, [item], []))
    assert failed.value.cause is Cause.REFUSED


async def test_the_first_failure_stops_the_other_items(site: Site, folder: Path, web: WebServer) -> None:
    web.pages["/slow"] = Page(b"x" * 100, stalls=True)
    performer = StagePerformer(open_transfers(site, roots=(folder,), hosts=("127.0.0.1",)))
    items: list[dict[str, Json]] = [
        {"from": web.url("/slow"), "to": "slow"},
        {"from": "file:none", "to": "none"},
    ]
    with pytest.raises(TaskFailed, match="no such file"):
        await performer.perform(assignment(site, items, []))
    assert not (site.run_folder(RUN) / "slow").exists()


async def test_a_cancelled_task_leaves_no_rest(site: Site, folder: Path, web: WebServer) -> None:
    web.pages["/slow"] = Page(b"x" * 100, stalls=True)
    performer = StagePerformer(open_transfers(site, roots=(folder,), hosts=("127.0.0.1",)))
    performing = asyncio.create_task(
        performer.perform(assignment(site, [{"from": web.url("/slow"), "to": "slow"}], []))
    )
    await asyncio.to_thread(web.asked.wait, 10)
    performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing
    assert not [path for path in site.root.rglob("*") if path.is_file()]


async def test_the_output_of_very_many_files_stays_within_its_bounds(site: Site, folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    performer = StagePerformer(open_transfers(site, roots=(folder,)))
    items: list[dict[str, Json]] = [{"from": "file:a", "to": f"{'n' * 100}{n}"} for n in range(400)]
    output = await performer.perform(assignment(site, items, []))
    assert len(output["files"]) + output["omitted"] == 400


def test_sizes_are_spelled_for_people() -> None:
    assert [size_text(size) for size in (0, 999, 48_200, 3_000_000, 5 * 10**15)] == [
        "0 B", "999 B", "48.2 kB", "3.0 MB", "5000.0 TB",
    ]  # fmt: skip
