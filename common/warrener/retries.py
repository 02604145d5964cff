"""How long to wait before another try, and whether there is one."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from warrener.errors import Cause

if TYPE_CHECKING:
    from random import Random

JITTER = 0.1
"""A delay is spread by ± this part of itself, so that what failed together does not come back together."""

LONGEST = timedelta(days=3650)
"""No duration of a workflow may be longer."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PIECE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PIECE.pattern})+")
_HOW = "write a number of seconds, or a number with a unit: 500ms, 30s, 5m, 2h, 1d, 1h30m"


def read_duration(value: Any) -> timedelta:
    """Read a duration as people write it; raises ValueError, saying how to write one."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a duration; {_HOW}")  # noqa: TRY004 - pydantic collects ValueErrors
    elif isinstance(value, str):
        seconds = _seconds_of(value)
    else:
        seconds = value
    if not 0 <= seconds <= LONGEST.total_seconds():  # also refuses NaN
        raise ValueError(f"a duration lies between 0 and {LONGEST.days} days")
    return timedelta(seconds=seconds)


def _seconds_of(text: str) -> float:
    squeezed = text.strip().replace(" ", "")
    if not _WHOLE.fullmatch(squeezed):
        raise ValueError(f"{text[:40]!r} is not a duration; {_HOW}")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PIECE.findall(squeezed))


def _above_zero(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than 0")
    return value


def _as_seconds(value: timedelta) -> float:
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


Duration = Annotated[timedelta, BeforeValidator(read_duration), PlainSerializer(_as_seconds, return_type=float)]
"""A length of time: seconds in JSON, `30s`, `5m`, `2h`, `1d`, `500ms` where people write it."""

PositiveDuration = Annotated[Duration, AfterValidator(_above_zero)]


class Retry(BaseModel):
    """How often, when and after what a failed task is tried again.

    Attempts that were lost with their worker do not count: `on_lost` rules those. The delay before retry k is
    `delay · backoff^(k-1)`, at most `max_delay`, ± 10 % by chance. In a workflow `retry: 3` is short for
    `retry: {count: 3}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=0, ge=0, le=100, strict=True)
    """Further tries after the first."""
    delay: Duration = timedelta(seconds=10)
    backoff: float = Field(default=2.0, ge=1, le=10)
    max_delay: Duration = timedelta(hours=1)
    on: tuple[Cause, ...] = (Cause.EXIT, Cause.ERROR, Cause.TIMEOUT, Cause.STAGE, Cause.ENV)

    @model_validator(mode="before")
    @classmethod
    def _accept_a_count(cls, value: Any) -> Any:
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


def next_delay(retry: Retry, failed_tries: int, cause: Cause, rng: Random) -> timedelta | None:
    """Return how long to wait before the next try, or None when there is none.

    `failed_tries` counts the tries that failed, this one included; lost ones are not counted.
    """
    if failed_tries > retry.count or cause not in retry.on:
        return None
    longest_s = retry.max_delay.total_seconds()
    growth = retry.backoff ** max(failed_tries - 1, 0)  # at most 10^99: count is at most 100
    delay_s = min(retry.delay.total_seconds() * growth, longest_s)
    return timedelta(seconds=min(delay_s * rng.uniform(1 - JITTER, 1 + JITTER), longest_s))
