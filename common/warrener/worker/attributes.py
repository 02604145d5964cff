"""What a worker's host has: found once, at the start of a life."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from warrener.messages import Attributes

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_MIB = 1024 * 1024


def attributes_of_host(
    *, software: Iterable[str] = (), labels: Iterable[str] = (), targets: Iterable[str] = ()
) -> Attributes:
    """Look at this host; of `software`, what is on the PATH. A label is `name` or `name=value`."""
    pairs = (label.partition("=") for label in labels)
    return Attributes(
        cores=_cores(),
        memory_mib=_memory_mib(),
        gpus=_gpus(),
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        software=sorted({name for name in software if shutil.which(name)}),
        labels={name.strip(): value.strip() for name, _, value in pairs},
        targets=sorted(targets),
    )


def _cores() -> int:
    """Count the cores that this process may use, which may be fewer than the host has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _memory_mib() -> int:
    """Return the memory that this process may use: the host's, or its control group's limit if that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return min(whole, int(limit) if limit.isdecimal() else whole) // _MIB


def _gpus() -> int:
    """Count the NVIDIA devices: those the driver tells of, or those that a container was given."""
    try:
        return len(list(_NVIDIA.iterdir()))
    except OSError:
        try:
            return sum(re.fullmatch(r"nvidia\d+", device.name) is not None for device in Path("/dev").iterdir())
        except OSError:
            return 0
