"""Quiet hours: when a route holds back what is not critical."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

_TIME = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST = 14


class QuietHours(BaseModel):
    """From when to when, on which days they begin, and by which clock. `to` before `from` is on the next day."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    begin: str = Field(alias="from")
    to: str
    zone: str = "UTC"
    days: Annotated[tuple[Day, ...], Field(min_length=1)] = _DAYS

    @field_validator("begin", "to")
    @classmethod
    def _is_time(cls, value: str) -> str:
        if not _TIME.fullmatch(value) or _minutes(value) > 24 * 60:
            raise ValueError(f"{value[:20]!r} is no time of day; write one as '22:00', in quotes, up to '24:00'")
        return value

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"{value[:40]!r} is no time zone that this host knows; write one as 'Europe/Zurich', and install the"
                " package tzdata if it has none"
            ) from error
        return value

    def end_of(self, moment: datetime) -> datetime | None:
        """Return when the quiet hours end that a moment lies in; None if it lies in none."""
        today = moment.astimezone(ZoneInfo(self.zone)).date()
        for day in (today - timedelta(days=1), today):
            begin, end = self._on(day)
            if _DAYS[day.weekday()] in self.days and begin <= moment < end:
                return end
        return None

    def _on(self, day: date) -> tuple[datetime, datetime]:
        begin, end = _minutes(self.begin), _minutes(self.to)
        return self._moment(day, begin), self._moment(day, end if end > begin else end + 24 * 60)

    def _moment(self, day: date, minutes: int) -> datetime:
        days, minutes = divmod(minutes, 24 * 60)
        local = datetime.combine(day + timedelta(days=days), datetime.min.time(), ZoneInfo(self.zone))
        return local.replace(hour=minutes // 60, minute=minutes % 60).astimezone(UTC)


def quiet_until(hours: tuple[QuietHours, ...], now: datetime) -> datetime | None:
    """Return when it is quiet no more; None if it is not quiet now. At most two weeks ahead, whatever is written."""
    moment = now
    for _ in range(_LONGEST):
        ends = [end for one in hours if (end := one.end_of(moment)) is not None]
        if not ends:
            break
        moment = max(ends)
    return None if moment == now else moment


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return 60 * int(hours) + int(minutes)
