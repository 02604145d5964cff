"""A worker's own end: planned, by a signal, or because something in it ended that must not."""

from __future__ import annotations

import asyncio
from asyncio import timeouts
from contextlib import suppress
from pathlib import Path

import pytest

from owner import Life, Owner, Scripted, for_ever, in_virtual_time
from warrener import topology
from warrener.messages import Kind
from warrener.site import Site

SITE = Site("s1", Path("/nonexistent"))


async def _end_as_in_3_11_2(self: asyncio.Timeout, kind: type[BaseException] | None, *_: object) -> None:
    """End a time-out as Debian 12's Python does, which takes no notice of earlier cancellations of the task."""
    if self._timeout_handler is not None:
        self._timeout_handler.cancel()
        self._timeout_handler = None
    if self._state is not timeouts._State.EXPIRING:
        self._state = timeouts._State.EXITED
        return
    self._state = timeouts._State.EXPIRED
    if self._task.uncancel() == 0 and kind is asyncio.CancelledError:
        raise TimeoutError


def test_a_cancelled_worker_says_its_last_words_also_when_its_work_outlasts_the_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asyncio.Timeout, "__aexit__", _end_as_in_3_11_2)

    async def main() -> None:
        owner, performer = Owner(), Scripted(Kind.ENV)
        await owner.listen()
        performer.acts[0] = for_ever
        life = await Life(owner, performer, SITE).__aenter__()
        await owner.order(owner.make(0, kind=Kind.ENV), lane="env")
        await owner.grant(await owner.claims())
        await performer.until(lambda: bool(performer.begun))
        life.task.cancel()
        await asyncio.wait([life.task])
        assert life.task.cancelled()
        async with asyncio.timeout(60):
            await owner.heartbeat(lambda beat: beat.state == "leaving")
        assert performer.stopped

    in_virtual_time(main)


def test_a_worker_whose_intake_ends_by_itself_ends_too() -> None:
    async def main() -> None:
        owner = Owner()
        await owner.listen()
        life = Life(owner, Scripted(), SITE)
        subscribe = life.broker.subscribe

        async def cancelled(queues, **options):
            if topology.orders("job") in queues:
                raise asyncio.CancelledError
            return await subscribe(queues, **options)

        life.broker.subscribe = cancelled  # type: ignore[method-assign]
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(60):
                await life.service.run()
        assert caught.group_contains(RuntimeError, match="intake of orders ended by itself")

    in_virtual_time(main)


def test_what_misses_a_cancellation_does_not_hold_up_the_end_for_ever() -> None:
    async def deaf_once() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def main() -> None:
        owner = Owner()
        await owner.listen()
        async with asyncio.timeout(60):
            async with Life(owner, Scripted(), SITE) as life:
                life.service._spawn(deaf_once())
                await asyncio.sleep(0)

    in_virtual_time(main)
