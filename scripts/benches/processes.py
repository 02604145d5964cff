"""What processes have used, as Linux tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fleet.process import descendants

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_SERVERS = {"beam.smp": "broker", "postgres": "database"}
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def cpu_s_of_servers() -> Iterator[tuple[str, float]]:
    """Yield ("broker" | "database", CPU time) for each process of the servers that this process has started."""
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            server = _SERVERS.get(Path(f"/proc/{pid}/comm").read_text().strip())
            if server is not None:
                yield server, cpu_s(pid)


def rss_mib(pid: int) -> float:
    """Return the memory of a process that is resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20
