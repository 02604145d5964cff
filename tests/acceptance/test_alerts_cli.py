"""`warrener alerts` and the mails, on a real `warrener up` with a real mail server: from a failure to the mailbox."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailserver import Authority, MailServer, mail_server

pytestmark = [pytest.mark.slow]
BAD = 'workflow: bad\ntasks:\n  boom:\n    job: {argv: [sh, -c, "echo dead >&2; exit 3"]}\n'


@dataclass
class Place:
    """A folder, and the environment of a `warrener up`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    async def types(self, *words: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            _COMMAND, *words, cwd=self.folder, env=self._environment(), stdout=-1, stderr=-1
        )
        async with asyncio.timeout(90):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            _COMMAND, "up", cwd=self.folder, env=self._environment(), stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(90):
                while "Ctrl-C stops" not in (line := (await process.stdout.readline()).decode()):
                    assert line, "it has ended"
            yield
        finally:
            process.terminate()
            await process.communicate()

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WARRENER_")}
        return {**clean, "WARRENER_STATE": str(self.folder / "state"), **self.environment}


_COMMAND = str(Path(sys.executable).with_name("warrener"))


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="wa-") as folder:  # short: sockets have short names
        yield Place(Path(folder))


@pytest.fixture
async def server(place: Place) -> AsyncIterator[MailServer]:
    authority = Authority(place.folder)
    async with mail_server(tls=authority.server("127.0.0.1")) as server:
        place.environment |= {
            "WARRENER_MAIL_SERVERS": f"smtp://127.0.0.1:1,smtp://127.0.0.1:{server.port}",
            "WARRENER_MAIL_CA": str(authority.file),
            "WARRENER_MAIL_TO": "ada@example.org",
            "WARRENER_MAIL_FROM": "warrener@lab.example",
            "WARRENER_ALERT_WINDOW": "2s",
        }
        yield server


@pytest.mark.timeout(240)
async def test_a_failure_is_mailed_listed_acknowledged_and_over_when_it_is_retried(
    place: Place, server: MailServer
) -> None:
    (place.folder / "bad.yaml").write_text(BAD)
    async with place.up():
        _, run, _ = await place.types("submit", "bad.yaml")
        (mail,) = await server.until_mails(1)
        assert mail["Subject"].startswith(f"[warrener] Task failed: {run.strip()}/boom")
        assert "exit code 3" in mail.get_body(("plain",)).get_content()
        assert "dead" in mail.get_body(("html",)).get_content()

        _, listed, _ = await place.types("alerts", "list", "--open", "--json")
        (alert,) = json.loads(listed)
        assert (alert["kind"], alert["severity"]) == ("task-failed", "error")
        number = str(alert["id"])
        code, said, _ = await place.types("alerts", "ack", number, "it is on purpose", "--as", "ada")
        assert (code, said) == (0, f"Alert {number} is acknowledged by ada; its end is told all the same.\n")
        code, _, error = await place.types("alerts", "ack", number)
        assert (code, "acknowledged by ada already: it is on purpose" in error) == (2, True)
        _, listed, _ = await place.types("alerts", "list", "--open")
        assert listed == "No alert is open.\n"

        await place.types("retry", run.strip())
        await server.until(lambda: any("given another go" in mail["Subject"] for mail in server.mails))
        _, shown, _ = await place.types("alerts", "show", number)
        for words in ("boom is given another go.", "by ada", "it is on purpose", "dead"):
            assert words in shown
        code, _, error = await place.types("alerts", "show", "999")
        assert (code, "there is no alert 999" in error) == (2, True)


@pytest.mark.timeout(240)
async def test_a_test_says_how_it_went(place: Place, server: MailServer) -> None:
    async with place.up():
        code, said, _ = await place.types("alerts", "test")
        assert code == 0
        assert said == (
            "ada@example.org: sent: 127.0.0.1:1: cannot be reached: Connection refused;"
            f" 127.0.0.1:{server.port}: took it (taken)\n"
        )
        assert server.mails[0]["Subject"].startswith("[warrener] Test: ")
        server.answers = {"ada@example.org": "550 5.1.1 no such user"}
        code, said, _ = await place.types("alerts", "test")
        assert code == 1
        assert "it refused the recipient: 550 5.1.1 no such user" in said
        _, listed, _ = await place.types("alerts", "list", "--open")
        assert listed == "No alert is open.\n"


@pytest.mark.timeout(240)
async def test_a_test_says_that_nobody_is_told(place: Place) -> None:
    async with place.up():
        code, _, error = await place.types("alerts", "test")
        assert (code, "Nobody is told of alerts: WARRENER_MAIL_TO is not set" in error) == (1, True)


async def test_wrong_settings_of_mails_are_said_at_the_start(place: Place) -> None:
    place.environment["WARRENER_MAIL_SERVERS"] = "plain://mail.example.org:25"
    code, _, error = await place.types("up")
    assert code != 0
    assert "WARRENER_MAIL_SERVERS: mail.example.org: mails travel without TLS on this host only" in error
