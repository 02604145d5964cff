"""The lives of a worker, and the proof that it may speak for those that are over.

What an earlier life held, and this one did not take back, nobody works on: the scheduler may place it anew at once.
But whoever can write to the broker could say so in another's name. So a life keeps one token that it was granted
beside its spool, and a later life shows it: only this worker, on this disk, can.
"""

from __future__ import annotations

import structlog

from warrener.ids import AttemptRef
from warrener.messages import EndedLife
from warrener.worker.identity import Identity
from warrener.worker.spool import Spool

TOLD_BEATS = 5
"""In how many first heartbeats the earlier lives are named: a grant to one of them may have been late."""

log = structlog.get_logger("warrener.worker")


class Lives:
    """The proofs of this life and of those before it."""

    def __init__(self, who: Identity, spool: Spool) -> None:
        self._who, self._spool = who, spool
        self._earlier: list[EndedLife] = []
        self._own: EndedLife | None = None

    @property
    def unproved(self) -> bool:
        """Whether this life has no proof yet."""
        return self._own is None

    async def load(self) -> None:
        """Read what earlier lives left; raises OSError."""
        self._earlier = [life for life in await self._spool.lives() if life.boot != self._who.boot]

    async def prove(self, ref: AttemptRef, token: str) -> None:
        """Keep a token that this life was granted; the first of those that are granted at once is enough."""
        if not self.unproved:
            return
        self._own = EndedLife(run=ref.run, n=ref.n, attempt=ref.attempt, boot=self._who.boot, token=token)
        try:
            await self._spool.keep_life(self._own)
        except OSError as error:  # a later life then waits for the leases of this one
            log.warning("the proof of this life cannot be kept", worker=self._who.name, error=str(error))

    def ended(self, *, leaving: bool) -> list[EndedLife]:
        """Return the lives that are over, with this one if it is about to be."""
        return [*self._earlier, self._own] if leaving and self._own else list(self._earlier)

    async def forget_earlier(self) -> None:
        """Drop the proofs that were told often enough."""
        told, self._earlier = self._earlier, []
        await self._spool.forget_lives([life.boot for life in told])
