"""The watchdog: a program sends itself a small message through the real exchange, and waits for it to come back.

Connections can look healthy and carry nothing. So every ten seconds a probe takes the way of all messages: out by the
connection that publishes, through the exchange, in by the connection that consumes. While the broker is known to be
away or blocked nothing is judged: the link reconnects by itself then, and a restart would mend nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

import structlog

from warrener.broker import Broker, Message
from warrener.errors import BrokerUnavailable
from warrener.ids import new_token
from warrener.topology import CONTROL, control

log = structlog.get_logger(__name__)

KIND = "probe/1"
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a probe is sent, how long one may stay away, and how often in a row new connections may not help."""

    every_s: float = 10.0
    lost_after_s: float = 30.0
    strikes: int = 3


class Watchdog:
    """Watches over one program's connections to the broker; `who` names the program in the names of queues."""

    def __init__(self, broker: Broker, who: str, rng: Random, patience: Patience | None = None) -> None:
        self._broker, self._who, self._rng = broker, who, rng
        self._patience = patience or Patience()
        token = new_token(rng)
        self._topic = f"probe.{token}"
        self._queue = control(f"{who}.{token}", self._topic)
        self._heard_s: float | None = None
        self._since_s = 0.0  # nothing before this counts as silence
        self._strikes = 0
        self._why = ""  # the last thing that went wrong since a probe was heard

    def age_s(self) -> float | None:
        """Return how long ago a probe came back; None when none did yet."""
        return None if self._heard_s is None else max(0.0, _now_s() - self._heard_s)

    def trouble(self) -> str:
        """Say what is wrong with the way through the broker; empty when a probe came back lately."""
        age_s = self.age_s()
        if age_s is None:
            return "no probe has come through the broker yet"
        if age_s > self._patience.lost_after_s:
            return f"no probe has come through the broker for {age_s:.0f} s"
        return ""

    async def run(self) -> None:
        """Watch until cancelled; raises BrokerUnavailable when the program should end and be started anew."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear())
            tasks.create_task(self._watch(tasks))

    async def _hear(self) -> None:
        while True:
            try:
                subscription = await self._broker.subscribe([self._queue], prefetch=10)
                try:
                    await self._probe()  # the first, or the first after an outage, need not wait for its time
                    while True:
                        await subscription.settle(await subscription.take(10))
                        self._heard_s, self._strikes, self._why = _now_s(), 0, ""
                finally:
                    await subscription.close()
            except BrokerUnavailable as error:
                self._why = str(error)
                await asyncio.sleep(_AGAIN_S)

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        self._since_s = looked_s = _now_s()
        while True:
            await asyncio.sleep(self._patience.every_s)
            tasks.create_task(self._probe())  # the broker's own time-outs end it
            now_s = _now_s()
            if self._broker.trouble() or now_s - looked_s > 2 * self._patience.every_s:
                self._since_s = now_s  # the broker is away, or this program itself stood still
            looked_s = now_s
            self._judge(now_s)

    async def _probe(self) -> None:
        try:
            await self._broker.publish(
                Message(CONTROL, self._topic, KIND, b"{}", new_token(self._rng), durable=False, priority=9)
            )  # fmt: skip
        except BrokerUnavailable as error:
            self._why = str(error)

    def _judge(self, now_s: float) -> None:
        silent_s = now_s - max(self._since_s, self._heard_s or 0.0)
        if silent_s < self._patience.lost_after_s:
            return
        self._strikes += 1
        why = self._why or "its connections look healthy"
        if self._strikes >= self._patience.strikes:
            raise BrokerUnavailable(
                f"{self._who} hears nothing through the broker ({why}), and {self._strikes - 1} new connections did not"
                " help; it ends, to be started anew by its supervisor"
            )
        log.warning(
            "nothing comes through the broker; connecting anew", program=self._who, seconds=round(silent_s), why=why
        )
        self._since_s = now_s
        self._broker.renew(f"no probe came back for {silent_s:.0f} s")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
