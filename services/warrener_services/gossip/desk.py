"""The alert desk: alerts become episodes, episodes become letters, letters go out.

    own alerts, `alert/1` ─▶ rows ─▶ sorted, one desk after another ─▶ letters ─▶ taken by one desk ─▶ handed over

Each arrow is a transaction, so that a crash anywhere leaves a row that says what is to be done. Only one step is not:
between the mail server's yes and the commit that says so a crash lets the same mail go out once more, under the same
Message-ID. A letter whose holder is silent for a whole lease, by the watcher's own clock, is taken over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from random import Random

import structlog

from warrener.alerts import Alert, AlertKind
from warrener.broker import Broker, Delivery, Subscription
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, Fenced, InvalidMessage, StoreRefused, StoreUnavailable
from warrener.ids import new_token
from warrener.membership import Notice
from warrener.messages import AlertNote, decode
from warrener.store import Changes, Store, Transaction
from warrener.topology import ALERTS

from .absence import Pauses
from .asking import Asking
from .channels import Channels
from .crash_points import crash_point
from .delays import DelayWatch
from .direct import DirectLetters
from .folding import fold, fold_of, sort_out
from .mailing import MailServers
from .members import MemberAlerts
from .posting import Webhooks
from .postman import Postman
from .routes import Routes
from .trouble import Troubles

log = structlog.get_logger(__name__)

_SORTED_AT_ONCE = 500
_LOOK_EVERY_S = 1.0
_DELAYS_EVERY_S = 5.0
_PREFETCH = 100
_LOCAL = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """`lease_s`: how long a letter's holder may be silent; longer than handing over may take."""

    backlog: int = 50_000
    stuck: timedelta = timedelta(days=1)
    lease_s: float = 120.0
    shards: int = 64


class AlertDesk:
    """The desk of one program. It keeps in memory what it hears, and whoever tells it something never waits."""

    def __init__(
        self,
        *,
        store: Store,
        broker: Broker,
        clock: Clock,
        rng: Random,
        who: str,
        routes: Routes,
        servers: MailServers,
        webhooks: Webhooks,
        troubles: Troubles,
        limits: Limits,
    ) -> None:
        self._store, self._broker, self._clock, self._rng, self._who = Asking(store, self), broker, clock, rng, who
        self._routes, channels = routes, Channels(servers, webhooks)
        self._postman = Postman(
            store=self._store, clock=clock, who=who, routes=routes, channels=channels, lease_s=limits.lease_s
        )
        self._direct = DirectLetters(channels=channels, routes=routes, who=who)
        self._troubles, self._limits = troubles, limits
        self._members = MemberAlerts()
        self._delays = DelayWatch(store, backlog=limits.backlog, stuck=limits.stuck)
        self._own: dict[str, deque[tuple[Alert, datetime]]] = {}  # by episode, and not in the store yet
        self._heard, self._unsorted = asyncio.Event(), asyncio.Event()

    # ── what it hears ────────────────────────────────────────────────────────────────────────────────────────

    def raise_(self, alert: Alert, at: datetime | None = None) -> None:
        """Alert something that this program saw."""
        say = log.debug if alert.over else log.info  # most ends are of nothing: whoever starts says what is well
        say("alert", kind=alert.kind, subject=alert.subject, over=alert.over, text=alert.text)
        self._keep(alert, at or self._clock.now())

    def _keep(self, alert: Alert, at: datetime) -> None:
        if alert.episode not in self._own and len(self._own) >= _LOCAL:
            log.error("too many alerts for a store that is away; one is only here", alert=alert.text)
            return
        waiting = self._own.setdefault(alert.episode, deque(maxlen=2))
        if not waiting or waiting[-1][0].over != alert.over:
            waiting.append((alert, at))  # of all that began and ended meanwhile the last turn tells enough
        self._heard.set()

    def news(self, notices: Sequence[Notice]) -> None:
        """Hear what gossip says of members."""
        for alert in self._members.take(notices, self._clock.now()):
            self.raise_(alert)

    def away(self, part: str, reason: str) -> None:
        """Hear that a part could not be reached."""
        self._troubles.away(part, reason, self._clock.now())

    def back(self, part: str) -> None:
        """Hear that a part was reached."""
        for alert, at in self._troubles.back(part, self._clock.now()):
            self.raise_(alert, at)

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Run until cancelled; what was not written by then is lost if no other desk has seen it."""
        if not self._routes.destinations:
            log.info("alerts are listed, and nobody is mailed: WARRENER_MAIL_TO is not set")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_parts())
            tasks.create_task(self._tell_directly())
            tasks.create_task(self._open_then_work(tasks))

    async def _open_then_work(self, tasks: asyncio.TaskGroup) -> None:
        await self._store.open(shards=self._limits.shards)
        for work in (self._keep_own, self._hear_messages, self._sort, self._postman.run, self._watch_delays):
            tasks.create_task(work())

    # ── into the store ───────────────────────────────────────────────────────────────────────────────────────

    async def _keep_own(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            while self._own:
                await self._write([self._own.pop(episode) for episode in list(islice(self._own, _SORTED_AT_ONCE))])

    async def _write(self, own: Iterable[Iterable[tuple[Alert, datetime]]]) -> None:
        alerts = list(chain.from_iterable(own))
        try:
            await self._store.write(lambda tx: tx.write(Changes(alerts=alerts)))
        except StoreRefused as error:
            log.error("the database does not take alerts", reason=str(error), texts=[one.text for one, _ in alerts])
        self._unsorted.set()

    async def _hear_messages(self) -> None:
        pauses = Pauses(self._rng)
        while True:
            try:
                subscription = await self._broker.subscribe([ALERTS], prefetch=_PREFETCH)
                pauses.reset()
                try:
                    await self._receive(subscription)
                finally:
                    await subscription.close()
            except BrokerUnavailable as error:
                log.debug("hearing no alerts of other programs", reason=str(error))
            await pauses.rest()

    async def _receive(self, subscription: Subscription) -> None:
        while True:
            deliveries = await subscription.take(_PREFETCH)
            notes = [note for delivery in deliveries if (note := self._read(delivery)) is not None]

            def receive(tx: Transaction, notes: list[tuple[Alert, datetime, str]] = notes) -> None:
                for note in notes:
                    tx.alerts.receive(*note)

            try:
                await self._store.write(receive)
            except StoreRefused as error:
                log.error("dropped alerts that the database does not take", reason=str(error), alerts=len(notes))
            crash_point("gossip.received")
            await subscription.settle(deliveries)
            self._unsorted.set()

    def _read(self, delivery: Delivery) -> tuple[Alert, datetime, str] | None:
        """Return what a message alerts. Every worker may send one: it gets no further than an alert should."""
        try:
            note = decode(delivery.kind, delivery.body, AlertNote)
        except InvalidMessage as error:
            log.warning("dropped an alert that cannot be read", reason=str(error))
            return None
        if note.alert_kind == AlertKind.TEST:  # it would go to everybody at once, whatever hour it is
            log.warning("dropped a test that came by message; use warrener alerts test", subject=note.subject)
            return None
        at = min(note.at, self._clock.now())  # an end in the future would silence all that is before it
        return note.alert(), at, delivery.message_id.replace("\0", "") or new_token(self._rng)

    # ── sorting ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _sort(self) -> None:
        while True:
            while await self._sort_some():
                pass
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._unsorted.wait()
            except TimeoutError:
                continue
            self._unsorted.clear()

    async def _sort_some(self) -> bool:
        """Sort what is there; tell whether there may be more."""
        if not await self._store.read(lambda tx: tx.alerts.unsorted(1)):
            return False
        try:
            number = await self._store.write(self._sort_in)
        except Fenced as error:
            log.debug("another desk was faster", reason=str(error))
            return True
        self._postman.hurry()
        return number == _SORTED_AT_ONCE

    def _sort_in(self, tx: Transaction) -> int:
        tx.letters.hold()
        rows, now = tx.alerts.unsorted(_SORTED_AT_ONCE), self._clock.now()
        done, news = sort_out(rows, tx.alerts.latest({row.episode for row in rows}))
        tx.alerts.settle(done, now)
        ways = self._routes.ways
        folds = {(way.destination, fold_of(one.row.alert, way)) for one in news for way in ways(one.row.alert)}
        letters = fold(news, ways, tx.letters.latest(folds), now, lambda: new_token(self._rng))
        tx.letters.add(letter for letter in letters if not letter.id)
        for letter in letters:
            if letter.id:
                tx.letters.rewrite(letter)
        return len(rows)

    # ── what only time tells ─────────────────────────────────────────────────────────────────────────────────

    async def _watch_parts(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = self._clock.now()
            for alert, at in self._troubles.lasting(now):
                self.raise_(alert, at)
            for alert in self._members.settled(now):
                self.raise_(alert)

    async def _tell_directly(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            trouble = self._troubles.alert_of("store")
            if trouble is not None:
                await self._direct.tell(*trouble, self._clock.now())

    async def _watch_delays(self) -> None:
        while True:
            try:
                for alert, at in await self._delays.look(self._clock.now()):
                    self._keep(alert, at)
            except StoreUnavailable as error:
                self._store.missed(error)
            await asyncio.sleep(_DELAYS_EVERY_S)
