"""The drivers, each beside no other."""

from __future__ import annotations

import os

from warrener.errors import InvalidSettings
from warrener.settings import Settings
from warrener_services.elastic.driver import Driver
from warrener_services.elastic.rules import Pool

from .command import CommandDriver
from .compose import ComposeDriver
from .processes import ProcessDriver, worker_argv
from .surroundings import surroundings


def open_driver(name: str, pool: Pool, settings: Settings) -> Driver:
    """Return the driver that a pool's rule names; raises InvalidSettings for workers that could not start."""
    patience_s = pool.patience.total_seconds()
    if pool.compose is not None:
        return ComposeDriver(name, pool.compose, patience_s=patience_s)
    if pool.command is not None:
        return CommandDriver(name, pool.command)
    assert pool.processes is not None
    slots = pool.slots or settings.slots
    if not pool.processes.argv and slots < len(pool.serves):
        raise InvalidSettings(
            f"pools.{name}: a worker of {len(pool.serves)} kinds needs as many slots, and has {slots}; write slots:"
            f" {len(pool.serves)} or more"
        )
    return ProcessDriver(
        name, pool.processes.argv or worker_argv(pool.serves), settings.state / "elastic" / name,
        host=settings.host, environment=surroundings(os.environ, settings, pool), patience_s=patience_s,
    )  # fmt: skip


__all__ = ["CommandDriver", "ComposeDriver", "ProcessDriver", "open_driver"]
