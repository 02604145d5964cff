"""One loop for each pool: look, decide, act if it is our turn, and say what was done and why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from random import Random

import structlog

from warrener.alerts import Alert, AlertKind
from warrener.broker import Broker, Delivery, Message, Subscription
from warrener.clock import Clock
from warrener.errors import BrokerUnavailable, InvalidMessage
from warrener.ids import new_token
from warrener.messages import Demand, Elastic, Heartbeat, RollCall, decode, encode
from warrener.runtime.alerting import send_alert
from warrener.settings import Settings
from warrener.topology import CONTROL, control

from .decision import Decision, Past, acted, decide
from .driver import Crew, Driver, DriverFailed
from .picture import Picture
from .rules import Pool, Rules
from .turn import Turn

_PREFETCH = 500
_AGAIN_S = 1.0
_TALK_EVERY_S, _TALK_WITHIN_S = 1.0, 5.0
_AFTER_TROUBLE_S, _LONGEST_REST_S = 5.0, 60.0
"""How long a pool rests after trouble: twice as long each time, up to the second."""
_WELL_AFTER_S = 30.0
"""How long nothing must have been wrong: workers that die at their start are well in between, too."""

log = structlog.get_logger(__name__)


class ElasticService:
    """Keeps the pools of some rules as large as their work asks for. `who` must be new for every process."""

    def __init__(
        self,
        rules: Rules,
        drivers: Mapping[str, Driver],
        *,
        broker: Broker,
        clock: Clock,
        settings: Settings,
        who: str,
        rng: Random,
    ) -> None:
        self._rules, self._broker, self._clock, self._who, self._rng = rules, broker, clock, who, rng
        self._picture = Picture(self._now_s())
        self._news = {name: asyncio.Event() for name in rules.pools}
        self._pools = [
            _Keeper(name, pool, drivers[name], settings, clock=clock, picture=self._picture,
                    turn=Turn(drivers[name].exclusive_to, who, broker, self._now_s))
            for name, pool in rules.pools.items()
        ]  # fmt: skip

    def _now_s(self) -> float:
        return self._clock.boot_s()

    async def run(self) -> None:
        """Run until cancelled; what it has started goes on."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear())
            for keeper in self._pools:
                tasks.create_task(keeper.turn.hold())
                tasks.create_task(self._talk(keeper))
                tasks.create_task(self._keep(keeper))

    async def _keep(self, keeper: _Keeper) -> None:
        news = self._news[keeper.name]
        while True:
            news.clear()
            await keeper.look(self._now_s())
            try:
                async with asyncio.timeout(self._rules.every.total_seconds()):
                    await news.wait()
            except TimeoutError:
                pass

    async def _talk(self, keeper: _Keeper) -> None:
        """Say every second how a pool is, however seldom is looked and however long that takes: the turn needs it."""
        while True:
            await self._say(keeper)
            await asyncio.sleep(_TALK_EVERY_S)

    async def _say(self, keeper: _Keeper) -> None:
        """Say what is done about a pool, through the queue that only one program has; and alert admins to trouble."""
        if not keeper.turn.open.is_set():
            return
        word = keeper.word(self._who)
        try:
            async with asyncio.timeout(_TALK_WITHIN_S):
                await self._broker.publish(_hint("elastic", word.KIND, encode(word), self._rng))
                if keeper.turn.ours and (alert := keeper.alert()) is not None:
                    await send_alert(self._broker, alert, self._clock.now(), self._rng)
                    keeper.alerted(alert)
        except (BrokerUnavailable, TimeoutError) as error:
            log.debug("could not say what is done", pool=keeper.name, reason=str(error))

    async def _hear(self) -> None:
        """Hear schedulers and workers, for ever."""
        while True:
            try:
                topics = control(f"elastic.{self._who}", "demand", "heartbeat")
                subscription = await self._broker.subscribe([topics], prefetch=_PREFETCH)
                try:
                    await self._broker.publish(_hint("rollcall", RollCall.KIND, encode(RollCall()), self._rng))
                    await self._hear_from(subscription)
                finally:
                    await subscription.close()
            except BrokerUnavailable as error:
                log.debug("hearing nobody", reason=str(error))
                await asyncio.sleep(_AGAIN_S)

    async def _hear_from(self, subscription: Subscription) -> None:
        while True:
            deliveries = await subscription.take(_PREFETCH)
            for delivery in deliveries:
                try:
                    self._take(delivery)
                except InvalidMessage as error:
                    log.debug("dropped what cannot be read", reason=str(error))
            await subscription.settle(deliveries)

    def _take(self, delivery: Delivery) -> None:
        if delivery.kind == Heartbeat.KIND:
            self._picture.hear_beat(decode(delivery.kind, delivery.body, Heartbeat), self._now_s())
            return
        body = decode(delivery.kind, delivery.body, Demand)
        self._picture.hear_demand(body, self._now_s())
        for keeper in self._pools:
            if any(body.lanes[lane].ready for lane in keeper.pool.serves if lane in body.lanes):
                self._news[keeper.name].set()


class _Keeper:
    """One pool: what is known of it, and what was last done about it."""

    def __init__(
        self, name: str, pool: Pool, driver: Driver, settings: Settings, *, clock: Clock, picture: Picture, turn: Turn
    ) -> None:
        self.name, self.pool, self.turn = name, pool, turn
        self._driver, self._clock, self._picture = driver, clock, picture
        self._host, self._site = settings.host, pool.site or settings.site
        self._rule = pool.rule(settings.slots)
        self._past: Past | None = None
        self._crew = Crew()
        self._decision = Decision(0, 0, "it has not looked yet")
        self._action = ""
        self._action_at: datetime | None = None
        self._trouble = ""
        self._told_trouble = False
        self._rests_until_s = float("-inf")
        self._rest_s = _AFTER_TROUBLE_S

    async def look(self, now_s: float) -> None:
        """Look, decide, and act if it is our turn; after trouble, not at once again."""
        if now_s < self._rests_until_s:
            return
        try:
            self._crew = await self._driver.look()
            seen = self._picture.seen(self.pool.serves, self._site, self._crew, now_s)
            past = self._past or Past(now_s)
            self._decision, self._past = decide(self._rule, seen, self._crew.count, past, now_s)
            if self._decision.count != self._crew.count and self.turn.ours:
                await self._act(self._past, now_s)
        except DriverFailed as error:
            self._rests_until_s = now_s + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
            self._complain(str(error))
        else:
            if now_s - self._rests_until_s >= _WELL_AFTER_S:
                self._rest_s = _AFTER_TROUBLE_S
                self._complain("")

    async def _act(self, past: Past, now_s: float) -> None:
        before, count, why = self._crew.count, self._decision.count, self._decision.why
        log.info("the pool changes", pool=self.name, before=before, after=count, why=why)
        await self._driver.scale(count, self._picture.load(self._crew))
        self._past = acted(past, before, count, now_s)
        self._action, self._action_at = f"{before} → {count}: {why}", self._clock.now()
        self._crew = await self._driver.look()

    def _complain(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.error("the pool cannot be kept; trying again", pool=self.name, reason=trouble)
        elif self._trouble and not trouble:
            log.info("the pool can be kept again", pool=self.name)
        self._trouble = trouble

    def alert(self) -> Alert | None:
        """Return what admins should hear now, and have not."""
        if bool(self._trouble) == self._told_trouble:
            return None
        text = self._trouble or f"the workers of the pool {self.name} can be started and stopped again"
        return Alert(
            AlertKind.WORKERS_TROUBLE, f"{self.name} on {self._host}", text, site=self._site, look="warrener elastic",
            over=not self._trouble,
        )  # fmt: skip

    def alerted(self, alert: Alert) -> None:
        self._told_trouble = not alert.over

    def word(self, who: str) -> Elastic:
        """Say how it is."""
        return Elastic(
            who=who, host=self._host, pool=self.name, turn=self._driver.exclusive_to, acting=self.turn.ours,
            lanes=list(self.pool.serves), site=self._site, minimum=self._rule.minimum, maximum=self._rule.maximum,
            wanted=self._decision.count, running=self._crew.count, leaving=len(self._crew.leaving),
            why=self._decision.why, action=self._action, action_at=self._action_at, trouble=self._trouble,
        )  # fmt: skip


def _hint(topic: str, kind: str, body: bytes, rng: Random) -> Message:
    return Message(CONTROL, topic, kind, body, new_token(rng), durable=False, mandatory=False)
