"""What an agent of Warrener's own has on disk: its name, its configuration, and where programs of the host find it.

<folder>/lock         held by the program that runs the agent
<folder>/name         the member's name; it stays, so that a restarted agent is the same member
<folder>/agent.json   Serf's configuration, new at every start, with its keys
<folder>/url          serf://key@127.0.0.1:port of the agent that runs now, for `WARRENER_GOSSIP=agent://<folder>`
<folder>/snapshot     Serf's own: whom it knew, so that it finds back without seeds
<folder>/pid          the agent's process
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from warrener.errors import InvalidSettings
from warrener.ids import new_token

_SUFFIX = 6
_MOST_OF_HOST = 40


class AgentFolder:
    """One agent's folder. Whatever fails here raises OSError, unless it says otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, which is made; raises InvalidSettings when another program's agent lives there."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidSettings(
                f"WARRENER_STATE: the Serf agent cannot keep its files in {self.path}: {error.strerror}"
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InvalidSettings(
                    f"WARRENER_AGENT: another program of this host already runs the agent of {self.path}; one agent is"
                    f" enough for a host: give this program WARRENER_GOSSIP=agent://{self.path} instead, or a"
                    " WARRENER_STATE of its own"
                ) from None
            yield
        finally:
            os.close(descriptor)

    @property
    def configuration(self) -> Path:
        return self.path / "agent.json"

    @property
    def snapshot(self) -> Path:
        return self.path / "snapshot"

    def name(self, host: str, rng: Random) -> str:
        """Return the member's name: the host's, and a suffix that is this folder's alone."""
        file = self.path / "name"
        with contextlib.suppress(FileNotFoundError):
            known = file.read_text().strip()
            if known.startswith(f"{_plain(host)}-"):
                return known
        name = f"{_plain(host)}-{new_token(rng)[:_SUFFIX]}"
        _write(file, name)
        return name

    def forget_name(self) -> None:
        """Take a new name next time: another member has this one, as after a copy of the whole disk."""
        (self.path / "name").unlink(missing_ok=True)

    def write_configuration(self, configuration: Mapping[str, Any], url: str) -> None:
        _write(self.configuration, json.dumps(configuration, indent=2))
        _write(self.path / "url", url)

    def forget_url(self) -> None:
        """Lead nobody to the port of an agent that has ended: another program may have it by now, and get the key."""
        with contextlib.suppress(OSError):
            (self.path / "url").unlink()

    def note_process(self, pid: int) -> None:
        _write(self.path / "pid", str(pid))

    def end_leftover(self) -> None:
        """Kill the agent of an earlier life of this program, which was itself killed."""
        try:
            pid = int((self.path / "pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if any(word.endswith(os.fsencode(self.configuration)) for word in words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def agent_url(folder: Path) -> str:
    """Return the URL of the agent that runs in a folder; raises OSError when none does."""
    return (folder / "url").read_text().strip()


def _plain(host: str) -> str:
    """Make what Serf takes as a name; it also takes dots, which tell nothing here."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", host).strip("-")[:_MOST_OF_HOST] or "host"


def _write(path: Path, text: str) -> None:
    """Replace a file whole, readable by its owner only: it may have keys in it."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
    draft.replace(path)
