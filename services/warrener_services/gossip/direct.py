"""What goes out without the store, for it is about the store: each gossip program tells for itself."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from warrener.alerts import Alert
from warrener.letters import AlertRow, Letter

from .channels import Channels
from .composing import Told
from .folding import Content, News
from .routes import Routes, Way

log = structlog.get_logger(__name__)

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_AGAIN = timedelta(seconds=5)
_LAST_AGAIN = timedelta(minutes=1)


@dataclass(slots=True)
class _Destination:
    """What one destination was told: of the trouble since when; and when it may be told something again."""

    told_of: datetime | None = None
    not_before: datetime = _LONG_AGO
    tries: int = 0


class DirectLetters:
    """Tells each destination once of one trouble, and not of a second one within its window."""

    def __init__(self, *, channels: Channels, routes: Routes, who: str) -> None:
        self._channels, self._routes, self._who = channels, routes, who
        self._destinations: dict[str, _Destination] = {}

    async def tell(self, alert: Alert, since: datetime, now: datetime) -> None:
        """Tell of a trouble, as far as it is time to; repeat it while it lasts."""
        async with asyncio.TaskGroup() as tasks:
            for way in self._routes.ways(alert):
                one = self._destinations.setdefault(way.destination, _Destination())
                if one.told_of != since and now >= one.not_before:
                    tasks.create_task(self._tell(one, way, self._letter(alert, since, way), now))

    async def _tell(self, one: _Destination, way: Way, told: Told, now: datetime) -> None:
        result = await self._channels.send(told)
        log.warning("a letter of alerts, without the database", to=way.destination, outcome=result.outcome)
        if result.verdict == "again":
            one.not_before = now + min(_FIRST_AGAIN * 2**one.tries, _LAST_AGAIN)
            one.tries = min(one.tries + 1, 9)
        else:
            one.told_of, one.not_before, one.tries = told.letter.opened_at, now + way.window, 0

    def _letter(self, alert: Alert, since: datetime, way: Way) -> Told:
        row = AlertRow(0, alert, since, alert.episode)
        content = Content()
        content.add(News(row, over=False))
        token = hashlib.blake2b(f"{since.isoformat()} {self._who}".encode(), digest_size=12).hexdigest()
        return Told(
            Letter(token, way.destination, "direct", content.written(), since, since, since, 0.0), content, [row]
        )
