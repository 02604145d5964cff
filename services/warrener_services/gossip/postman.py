"""Handing letters over: each by whichever desk takes it first, and again until it is out."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from warrener.alerts import AlertKind
from warrener.clock import Clock
from warrener.letters import Letter
from warrener.store import Transaction

from .asking import Asking
from .channels import Channels
from .composing import Told, named
from .crash_points import crash_point
from .folding import Content
from .mailing import HandedOver
from .routes import Routes

log = structlog.get_logger(__name__)

_TAKEN_AT_ONCE = 100
_HANDED_AT_ONCE = 8
_LOOK_EVERY_S = 1.0
_HANDED_WITHIN_S = 90.0  # less than a lease: nobody else has taken the letter by then
_STOPS_WITHIN_S = 5.0
_FIRST_AGAIN = timedelta(seconds=5)
_LAST_AGAIN = timedelta(minutes=1)
_REFUSED_AGAIN = timedelta(hours=1)
_REFUSED_FOR = timedelta(days=1)


class Postman:
    """Hands over the letters of a store. `lease_s`: how long a letter's holder may be silent."""

    def __init__(
        self, *, store: Asking, clock: Clock, who: str, routes: Routes, channels: Channels, lease_s: float
    ) -> None:
        self._store, self._clock, self._who, self._lease_s = store, clock, who, lease_s
        self._routes, self._channels = routes, channels
        self._handing: dict[int, asyncio.Task[None]] = {}
        self._seen: dict[int, tuple[tuple[str | None, int], float]] = {}
        self._misses = 0
        self._due = asyncio.Event()

    def hurry(self) -> None:
        """Look at once: there may be something new."""
        self._due.set()

    async def run(self) -> None:
        """Hand over until cancelled, and a little longer what is being handed over then."""
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    self._due.clear()
                    await self._take_some(tasks)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_EVERY_S):
                            await self._due.wait()
            finally:
                # A mail that is cut off between the server's yes and the commit goes out twice.
                if self._handing:
                    await asyncio.wait(self._handing.values(), timeout=_STOPS_WITHIN_S)

    async def _take_some(self, tasks: asyncio.TaskGroup) -> None:
        now = self._clock.now()
        waiting = await self._store.read(lambda tx: tx.letters.waiting(now, _TAKEN_AT_ONCE))
        if self._misses != self._store.misses:
            # A holder could not say how it went either: its lease begins anew.
            self._misses, self._seen = self._store.misses, {}
        self._seen = {letter.id: self._seen[letter.id] for letter in waiting if letter.id in self._seen}
        for letter in waiting:
            if len(self._handing) >= _HANDED_AT_ONCE:
                break
            if letter.id not in self._handing and self._may_take(letter):
                await self._take(letter, tasks)

    def _may_take(self, letter: Letter) -> bool:
        """Tell whether nobody holds a letter, or somebody who has been silent for too long."""
        if letter.taken_by is None:
            return True
        now_s, state = asyncio.get_running_loop().time(), (letter.taken_by, letter.tries)
        seen, since_s = self._seen.setdefault(letter.id, (state, now_s))
        if seen != state:
            self._seen[letter.id] = (state, now_s)
            return False
        return now_s - since_s >= self._lease_s

    async def _take(self, seen: Letter, tasks: asyncio.TaskGroup) -> None:
        taken = await self._store.write(lambda tx: tx.letters.take(seen, self._who))
        if taken is None:
            return
        crash_point("gossip.taken")
        task = tasks.create_task(self._hand_over(taken))
        self._handing[taken.id] = task
        task.add_done_callback(lambda _: self._handed(taken.id))

    def _handed(self, number: int) -> None:
        del self._handing[number]
        self.hurry()

    async def _hand_over(self, letter: Letter) -> None:
        told, result = await self._tried(letter)
        crash_point("gossip.handed-over")
        now = self._clock.now()
        await self._store.write(lambda tx: self._write_outcome(tx, told, result, now))
        crash_point("gossip.sent")
        say = log.info if result.verdict == "sent" else log.warning
        say("a letter of alerts", to=letter.destination, outcome=result.outcome, verdict=result.verdict)

    async def _tried(self, letter: Letter) -> tuple[Told, HandedOver]:
        """Send a letter; return what it tells, as far as it can be read, and how it went."""
        try:
            content = Content.read(letter.content)
        except ValueError as error:
            log.error("a letter cannot be read", letter=letter.token, reason=str(error))
            return Told(letter, Content(), ()), HandedOver("unclear", "this version cannot read it")
        told = Told(letter, content, ())
        try:
            async with asyncio.timeout(_HANDED_WITHIN_S):
                rows = await self._store.read(lambda tx: tx.alerts.load(named(content)))
                told = Told(letter, content, rows)
                now = self._clock.now()
                if letter.tries == 1 and self._loud_at(told, now) > now:  # it was due before, and no desk was there
                    return told, HandedOver("again", "quiet hours")
                return told, await self._channels.send(told)
        except TimeoutError:
            return told, HandedOver("unclear", f"no end within {_HANDED_WITHIN_S:g} s")

    def _write_outcome(self, tx: Transaction, told: Told, result: HandedOver, now: datetime) -> None:
        letter = told.letter
        if result.verdict == "sent" or letter.fold.startswith(f"{AlertKind.TEST}:"):
            tx.letters.end(letter, now, _outcome(result))
        elif result.verdict == "refused" and now - letter.due_at >= _REFUSED_FOR:
            tx.letters.end(letter, now, f"given up: {result.outcome}")
        else:
            again_at = self._loud_at(told, now + _pause(result, letter.tries))
            # What follows joins a letter that nobody took, never one that is refused: it may be for what it says.
            tx.letters.put_back(letter, again_at, _outcome(result), sealed=result.verdict != "again")

    def _loud_at(self, told: Told, moment: datetime) -> datetime:
        if not told.rows:
            return moment
        # All of them have the same quiet hours, or would not share a letter.
        return self._routes.loud_at(told.rows[0].alert, told.letter.destination, moment)


def _pause(result: HandedOver, tries: int) -> timedelta:
    return _REFUSED_AGAIN if result.verdict == "refused" else min(_FIRST_AGAIN * 2 ** min(tries - 1, 9), _LAST_AGAIN)


def _outcome(result: HandedOver) -> str:
    return f"{_OUTCOMES[result.verdict]}: {result.outcome}"


_OUTCOMES = {"sent": "sent", "again": "waits", "unclear": "unclear, sent again", "refused": "refused"}
