"""The pools of workers that elastic programs keep, as far as these say. A hint for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from warrener.messages import Elastic
from warrener.views import PoolView

SILENT_AFTER = timedelta(seconds=15)
FORGOTTEN_AFTER = timedelta(hours=1)


class Pools:
    """The last word about every pool of the program whose turn it is."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[Elastic, datetime]] = {}

    def hear(self, word: Elastic, now: datetime) -> None:
        if word.acting:
            self._said[word.turn] = word, now

    def list(self, now: datetime) -> Sequence[PoolView]:
        """Return every pool by name, the long silent left out."""
        self._said = {turn: said for turn, said in self._said.items() if now - said[1] < FORGOTTEN_AFTER}
        views = [_view(word, at, now) for word, at in self._said.values()]
        return sorted(views, key=lambda pool: (pool.name, pool.host))


def _view(word: Elastic, at: datetime, now: datetime) -> PoolView:
    return PoolView(
        name=word.pool, host=word.host, lanes=word.lanes, site=word.site, minimum=word.minimum, maximum=word.maximum,
        wanted=word.wanted, running=word.running, leaving=word.leaving, why=word.why, action=word.action,
        action_at=word.action_at, trouble=word.trouble, silent=now - at > SILENT_AFTER, heard_at=at,
    )  # fmt: skip
