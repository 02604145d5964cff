"""What the doctor says: one finding for each thing looked at."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from warrener.settings import Settings


class Health(StrEnum):
    """How something is."""

    WELL = "well"
    WARNING = "warning"
    FAULT = "fault"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is, and what to do about it; `do` is empty where nothing is to be done."""

    about: str
    health: Health
    says: str
    do: str = ""


Look = Callable[[Settings], Coroutine[Any, Any, list[Finding]]]
"""Looks at one thing."""


def well(about: str, says: str) -> Finding:
    """It is as it should be."""
    return Finding(about, Health.WELL, says)


def warning(about: str, says: str, do: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(about, Health.WARNING, says, do)


def fault(about: str, says: str, do: str) -> Finding:
    """Something does not work before this is mended."""
    return Finding(about, Health.FAULT, says, do)


def unused(about: str, says: str) -> Finding:
    """It plays no part here."""
    return Finding(about, Health.UNUSED, says)
