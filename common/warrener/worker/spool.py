"""The spool: reports of claimed attempts, kept until the scheduler says that it has them.

A report goes in before it is sent for the first time and comes out at its receipt, so a finished attempt survives a
broker outage, a lost queue and a restart of its worker. A file per attempt, written aside, synced and renamed: what
carries its final name is whole, unless the disk itself spoils it; then it is moved aside, never guessed at.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

import structlog
from pydantic import ValidationError

from warrener.ids import AttemptRef, BootId
from warrener.messages import BootText, EndedLife, Limit, Part, Report, WorkerText

log = structlog.get_logger("warrener.worker")


class Spooled(Part):
    """A report, and the worker and life that it belongs to."""

    worker: WorkerText
    boot: BootText
    report: Report

    @property
    def ref(self) -> AttemptRef:
        return self.report.ref


class Spool(Protocol):
    """Keeps reports; what `put` has returned for survives any crash. Failures raise OSError."""

    async def load(self) -> Sequence[Spooled]:
        """Return everything that is kept."""
        ...

    async def put(self, entries: Sequence[Spooled]) -> None:
        """Keep these; an entry of the same attempt is replaced."""
        ...

    async def drop(self, refs: Sequence[AttemptRef]) -> None:
        """Forget these; one that is not there is no error."""
        ...

    async def lives(self) -> Sequence[EndedLife]:
        """Return the proofs of lives that are kept (see `warrener.worker.lives`)."""
        ...

    async def keep_life(self, life: EndedLife) -> None:
        """Keep the proof of a life; a crash of the host may lose it."""
        ...

    async def forget_lives(self, boots: Sequence[BootId]) -> None:
        """Forget the proofs of these lives."""
        ...

    async def limit(self) -> Limit | None:
        """Return the limit that is kept (see `warrener.worker.restraint`); None without one."""
        ...

    async def keep_limit(self, limit: Limit) -> None:
        """Keep a limit instead of the one before; a crash of the host may lose it."""
        ...


class MemorySpool:
    """A spool for tests and the simulation: it lives as long as whoever holds it, through the crashes of workers."""

    def __init__(self) -> None:
        self.entries: dict[AttemptRef, Spooled] = {}
        self.proofs: dict[BootId, EndedLife] = {}
        self.kept_limit: Limit | None = None

    async def load(self) -> Sequence[Spooled]:
        return list(self.entries.values())

    async def put(self, entries: Sequence[Spooled]) -> None:
        self.entries.update((entry.ref, entry) for entry in entries)

    async def drop(self, refs: Sequence[AttemptRef]) -> None:
        for ref in refs:
            self.entries.pop(ref, None)

    async def lives(self) -> Sequence[EndedLife]:
        return list(self.proofs.values())

    async def keep_life(self, life: EndedLife) -> None:
        self.proofs[life.boot] = life

    async def forget_lives(self, boots: Sequence[BootId]) -> None:
        for boot in boots:
            self.proofs.pop(boot, None)

    async def limit(self) -> Limit | None:
        return self.kept_limit

    async def keep_limit(self, limit: Limit) -> None:
        self.kept_limit = limit


class FolderSpool:
    """A spool in a folder. The disk is waited for in a thread; entries given together share the syncs of the folder."""

    def __init__(self, folder: Path, executor: Executor | None = None) -> None:
        self._folder = folder
        self._executor = executor

    async def load(self) -> Sequence[Spooled]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._load)

    async def put(self, entries: Sequence[Spooled]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._put, entries)

    async def drop(self, refs: Sequence[AttemptRef]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop, refs)

    async def lives(self) -> Sequence[EndedLife]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._lives)

    async def keep_life(self, life: EndedLife) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._keep_life, life)

    async def forget_lives(self, boots: Sequence[BootId]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._forget_lives, boots)

    async def limit(self) -> Limit | None:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._limit)

    async def keep_limit(self, limit: Limit) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._keep_limit, limit)

    def _limit(self) -> Limit | None:
        path = self._folder / "limit" / "limit.json"
        try:
            return Limit.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):  # a scheduler tells it again soon
            path.unlink(missing_ok=True)
            return None

    def _keep_limit(self, limit: Limit) -> None:
        path = self._folder / "limit" / "limit.json"
        if limit.slots is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(".draft")
        draft.write_text(limit.model_dump_json())
        draft.replace(path)

    def _lives(self) -> list[EndedLife]:
        found = []
        for path in sorted((self._folder / "lives").glob("*.json")):
            try:
                found.append(EndedLife.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):  # a proof that is none proves nothing; leases end what it held
                path.unlink(missing_ok=True)
        return found

    def _keep_life(self, life: EndedLife) -> None:
        folder = self._folder / "lives"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f".{life.boot}.draft"
        draft.touch(mode=0o600)
        draft.write_text(life.model_dump_json())
        draft.replace(folder / f"{life.boot}.json")

    def _forget_lives(self, boots: Sequence[BootId]) -> None:
        for boot in boots:
            (self._folder / "lives" / f"{boot}.json").unlink(missing_ok=True)

    def _load(self) -> list[Spooled]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for draft in self._folder.glob(".*.draft"):
            draft.unlink(missing_ok=True)  # a crash before its rename: the report was never promised
        loaded = (self._read(path) for path in sorted(self._folder.glob("*.json")))
        return [entry for entry in loaded if entry is not None]

    def _read(self, path: Path) -> Spooled | None:
        try:
            entry = Spooled.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            self._move_aside(path, error)
            return None
        if path.name != _name(entry.ref):
            self._move_aside(path, ValueError(f"it holds the report of {entry.ref}"))
            return None
        return entry

    def _move_aside(self, path: Path, error: Exception) -> None:
        bad = self._folder / "bad"
        log.error("a spooled report cannot be read; it was moved aside", file=str(path), to=str(bad), error=str(error))
        try:
            bad.mkdir(exist_ok=True, mode=0o700)
            path.replace(bad / path.name)
        except OSError as failure:
            log.error("the unreadable report stays where it is", file=str(path), error=str(failure))

    def _put(self, entries: Iterable[Spooled]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in entries:
            self._write(entry)
        self._sync_folder()

    def _write(self, entry: Spooled) -> None:
        draft = self._folder / f".{_name(entry.ref)}.draft"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(entry.model_dump_json(exclude_defaults=True).encode())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._folder / _name(entry.ref))
        except OSError:
            draft.unlink(missing_ok=True)  # on a full disk, half a draft would take what room is left
            raise

    def _drop(self, refs: Iterable[AttemptRef]) -> None:
        # Not synced: a report that comes back after a power cut is sent again, and answered again.
        for ref in refs:
            (self._folder / _name(ref)).unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _name(ref: AttemptRef) -> str:
    return f"{ref.run}-{ref.n}-{ref.attempt}.json"
