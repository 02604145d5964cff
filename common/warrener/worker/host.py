"""How this host is, as Linux tells it in `/proc` and in the files of control groups.

In a container `/proc/loadavg` and the number of cores are those of the host: they belong together. Memory is the
container's, if it has a limit (control groups of version 2 or 1), else the host's.
"""

from __future__ import annotations

import os
from pathlib import Path

from warrener.worker.load import MEMORY_SEEN_BYTES, Sample

_KIB = 1024
_GROUPS = Path("/sys/fs/cgroup")
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def look_at_host(proc: Path = Path("/proc"), groups: Path = _GROUPS) -> Sample | None:
    """Return how the host is; None where Linux does not tell."""
    try:
        runnable = int((proc / "loadavg").read_text().split()[3].partition("/")[0]) - 1
        memory_free = min(_host_memory(proc), _group_memory(proc, groups))
    except (OSError, ValueError, IndexError, KeyError):
        return None
    return Sample(max(0, runnable), os.cpu_count() or 1, memory_free)


def _host_memory(proc: Path) -> float:
    fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    total, available = (int(fields[name].split()[0]) * _KIB for name in ("MemTotal", "MemAvailable"))
    return _share(available, total)


def _share(free_bytes: int, total_bytes: int) -> float:
    return max(0, free_bytes) / max(1, min(total_bytes, MEMORY_SEEN_BYTES))


def _group_memory(proc: Path, groups: Path) -> float:
    """Return the share that is free below the tightest limit that our control group shows; 1 without a limit."""
    shares = [1.0]
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = groups / "memory" if controllers else groups
        for folder in (top / path.lstrip("/"), top):  # in a container its own group may be the top
            if (share := _below_limit(folder, _V1 if controllers else _V2)) is not None:
                shares.append(share)
                break
    return min(shares)


def _below_limit(folder: Path, names: tuple[str, str, str]) -> float | None:
    limit_name, usage_name, cache_name = names
    try:
        limit, usage = (folder / limit_name).read_text().strip(), int((folder / usage_name).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max" or int(limit) >= 2**60:  # version 1 writes a very large number for no limit
        return None
    return _share(int(limit) - usage + int(stat.get(cache_name, 0)), int(limit))
