"""Warrener: a workload manager for science gateways and data pipelines.

    from warrener import Client, Workflow        submit and watch
    from warrener import Worker                  register functions for `call` tasks

The names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warrener.building import Task, Workflow
    from warrener.client import AsyncClient, Client
    from warrener.worker import Worker

__all__ = ["AsyncClient", "Client", "Task", "Worker", "Workflow"]

_HOMES = {
    "AsyncClient": "warrener.async_client",
    "Client": "warrener.client",
    "Task": "warrener.building",
    "Worker": "warrener.worker",
    "Workflow": "warrener.building",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
