"""What keeps a worker from filling its slots: the load of its host, and the limit that a scheduler told it.

The limit (it is drained, or its host is in the penalty box) is kept beside the spool: a worker that restarts obeys it
from its first moment on, until a scheduler says something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from warrener.clock import Clock
from warrener.messages import Limit
from warrener.worker.load import Sample, Thresholds, Withholding
from warrener.worker.slots import Slots
from warrener.worker.spool import Spool

LOOK_EVERY_S = 1.0

log = structlog.get_logger("warrener.worker")


class Restraint:
    """Keeps `slots.withheld` up to date; `changed` is called when a scheduler should hear of it now."""

    def __init__(
        self,
        slots: Slots,
        spool: Spool,
        clock: Clock,
        *,
        thresholds: Thresholds | None,
        host: Callable[[], Sample | None],
        changed: Callable[[], None],
    ) -> None:
        """Without `thresholds`, the load does not count."""
        self._slots, self._spool, self._clock, self._changed = slots, spool, clock, changed
        self._host = host
        self._withholding = Withholding(thresholds) if thresholds else None
        self.limit: int | None = None
        self.by_load = 0

    async def load(self) -> None:
        """Obey what was told to an earlier life; raises OSError."""
        kept = await self._spool.limit()
        if kept is not None and kept.slots is not None:
            log.info("an earlier limit is obeyed", slots=kept.slots, reason=kept.reason)
            self.limit = kept.slots
            self._apply()

    async def heed(self, told: Limit) -> None:
        """Obey a scheduler's limit from now on."""
        if told.slots == self.limit:
            return
        if told.slots is None:
            log.info("no limit any more: all slots may be filled")
        else:
            log.warning("a scheduler limits this worker", slots=told.slots, reason=told.reason)
        self.limit = told.slots
        self._apply()
        self._changed()
        try:
            await self._spool.keep_limit(told)
        except OSError as error:  # a restart then asks for work until it is told again
            log.warning("the limit cannot be kept", error=str(error))

    async def watch(self) -> None:
        """Look at the host, for ever."""
        while self._withholding is not None:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Look at the host once."""
        sample, withholding, slots = self._host(), self._withholding, self._slots
        if sample is None or withholding is None:
            return
        taken = max(0, slots.count - slots.free)
        withheld = withholding.look(sample, slots=slots.count, taken=taken, now_s=self._clock.boot_s())
        if withheld == self.by_load:
            return
        log.info(
            "slots are withheld for the load of this host" if withheld else "the load withholds no slots any more",
            withheld=withheld, load=round(withholding.load, 1), memory_free=round(sample.memory_free, 3),
        )  # fmt: skip
        self.by_load = withheld
        self._apply()
        self._changed()

    def _apply(self) -> None:
        self._slots.restrain(by_load=self.by_load, limit=self.limit)
