"""Folding: what is news, and which letter tells it. Pure.

The first alert of a fold (a severity, for a destination and its quiet hours) waits a tenth of the window for its like:
who fails is seldom alone, and 10,000 failures are one mail. What follows within a span is gathered into the next
letter, and while there is always more to tell the spans grow. What is critical goes out at once and begins with a span
of seconds, for a host's death must not wait behind another's. A recovery within a span stands in the same letter. What
would be due in quiet hours is due when they end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from warrener.alerts import Alert, AlertKind, Severity
from warrener.letters import AlertRow, Letter, Sorted

from .routes import Way

NAMED = 12
"""How many alerts a letter tells in full; of the others it says how many there are."""

URGENT_SPAN = timedelta(seconds=4)
_GROWTH = 2
_TEST = "test:"
_MOST_WINDOWS = 12


@dataclass(frozen=True, slots=True)
class News:
    """An episode that began, or one that is over."""

    row: AlertRow
    over: bool


@dataclass(slots=True)
class Content:
    """What a letter tells: the first episodes that began and ended, and how many of each kind."""

    raised: list[int] = field(default_factory=list)
    over: list[int] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)  # by kind: how many began, how many ended

    def add(self, news: News) -> None:
        """Tell one thing more."""
        counts = self.counts.setdefault(news.row.alert.kind, [0, 0])
        counts[news.over] += 1
        named = self.over if news.over else self.raised
        if len(named) < NAMED:
            named.append(news.row.id)

    @property
    def began(self) -> int:
        return sum(began for began, _ in self.counts.values())

    @property
    def ended(self) -> int:
        return sum(ended for _, ended in self.counts.values())

    def written(self) -> str:
        return json.dumps({"raised": self.raised, "over": self.over, "counts": self.counts}, separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Content:
        """Read what `written` wrote, without what a newer program may have added. Raises ValueError."""
        return _CONTENT.validate_json(text)


_CONTENT = TypeAdapter(Content)


def sort_out(rows: Sequence[AlertRow], latest: Mapping[str, AlertRow]) -> tuple[Sorted, list[News]]:
    """Tell news from what is told already. `latest` is the latest episode under each key, if there was one."""
    done, news, known = Sorted(), [], dict(latest)
    for row in rows:
        last = known.get(row.episode)
        running = last is not None and last.over_at is None
        if row.alert.over:
            done.dropped.append(row.id)
            if last is not None and running:
                done.over.append((last.id, row.at, row.alert.text))
                ended = replace(last, over_at=row.at, over_text=row.alert.text)
                known[row.episode] = ended
                news.append(News(ended, over=True))
        elif last is not None and (running or (last.over_at is not None and row.at < last.over_at)):
            # Told already; or somebody saw late what is over by now.
            done.dropped.append(row.id)
            done.repeated[last.id] = done.repeated.get(last.id, 0) + 1
        else:
            done.kept.append(row.id)
            known[row.episode] = row
            if row.alert.kind == AlertKind.TEST:
                done.over.append((row.id, row.at, "It was a test."))
            news.append(News(row, over=False))
    return done, news


def fold_of(alert: Alert, way: Way) -> str:
    """Return which alerts share letters: those of a severity and of the same quiet hours; a test stands alone."""
    if alert.kind == AlertKind.TEST:
        return f"{_TEST}{alert.subject}"
    return f"{alert.severity} {way.hush}".rstrip()


def fold(
    news: Iterable[News],
    ways: Callable[[Alert], Sequence[Way]],
    latest: Mapping[tuple[str, str], Letter],
    now: datetime,
    new_token: Callable[[], str],
) -> list[Letter]:
    """Return the letters that are new or have more to tell; `latest` are the last ones of their folds."""
    known = dict(latest)
    touched: dict[tuple[str, str], tuple[Letter, Content]] = {}
    for one in news:
        for way in ways(one.row.alert):
            key = (way.destination, fold_of(one.row.alert, way))
            if key not in touched:
                touched[key] = _open(known.get(key), key, way, now, new_token)
            touched[key][1].add(one)
    return [replace(letter, content=content.written()) for letter, content in touched.values()]


def _open(
    last: Letter | None, key: tuple[str, str], way: Way, now: datetime, new_token: Callable[[], str]
) -> tuple[Letter, Content]:
    if last is not None and not last.sealed and last.ended_at is None:
        with suppress(ValueError):  # what cannot be read is not added to
            return last, Content.read(last.content)
    due_at, span = when(last, key[1], way, now)
    letter = Letter(
        token=new_token(), destination=key[0], fold=key[1], content="", opened_at=now, due_at=due_at, try_at=due_at,
        span_s=span.total_seconds(),
    )  # fmt: skip
    return letter, Content()


def when(last: Letter | None, fold: str, way: Way, now: datetime) -> tuple[datetime, timedelta]:
    """Return when the letter after `last` is due, and how long what follows it is gathered."""
    urgent = fold == Severity.CRITICAL
    first, most = (min(URGENT_SPAN, way.window), way.window) if urgent else (way.window, _MOST_WINDOWS * way.window)
    due_at, span = now if urgent or fold.startswith(_TEST) else now + way.window / 10, first
    if last is not None and now < (end := last.due_at + timedelta(seconds=last.span_s)):
        due_at, span = end, min(_GROWTH * timedelta(seconds=last.span_s), most)
    return way.loud_at(due_at), span
