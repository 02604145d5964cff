"""Running a program: one loop, two signals, an exit code.

The first SIGTERM or SIGINT cancels the program's main task, which stops as planned; the second, or the end of the
stop's time, ends the process. A deliberate error ends it with one line: code 2 when the input must change, code 1 when
trying again may help.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

import structlog

from warrener.errors import Refused, WarrenerError
from warrener.gossips.agent import agent_of
from warrener.gossips.naming import found_by
from warrener.runtime.configured import following_configuration
from warrener.runtime.crash import arm_from_environment
from warrener.runtime.logs import configure_logs
from warrener.settings import Settings

EXIT_OK, EXIT_TRY_AGAIN, EXIT_REFUSED = 0, 1, 2

_GARBAGE_AFTER = (10_000, 20, 20)
"""By itself Python looks for cycles after 700 new objects, several times a message, for a tenth of a worker's CPU."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger("warrener.serve")


def serve_program(
    run: Callable[[Settings], Awaitable[None]],
    *,
    name: str,
    settings: Settings | None = None,
    prepared: Callable[[Settings], Settings] = lambda settings: settings,
) -> int:
    """Read the settings and run a program of Warrener under them, with its own agent if they ask for one.

    Returns the exit code.
    """
    try:
        told = prepared(settings or Settings.read())
    except WarrenerError as error:
        return _refuse(name, error)

    async def main() -> None:
        async with agent_of(told) as given:
            found = await found_by(given)
            async with following_configuration(found):
                await run(found)

    return serve(main, name=name, stop_timeout=told.stop_timeout, level=told.log)


def serve(
    main: Callable[[], Coroutine[Any, Any, None]], *, name: str, stop_timeout: timedelta, level: str = "info"
) -> int:
    """Run `main` until it ends or a signal stops it; return the exit code."""
    configure_logs(level)
    gc.set_threshold(*_GARBAGE_AFTER)
    try:
        arm_from_environment()
    except WarrenerError as error:
        return _refuse(name, error)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_supervise(main, name, stop_timeout))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loops where it can be imported; None: asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _supervise(main: Callable[[], Coroutine[Any, Any, None]], name: str, stop_timeout: timedelta) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(main(), name=name)
    stopping = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal stopping
        if stopping:
            _end_at_once(name, "a second signal came")
        stopping = True
        log.info("stopping", program=name, signal=number.name, seconds=stop_timeout.total_seconds())
        task.cancel()
        loop.call_later(stop_timeout.total_seconds(), _end_at_once, name, "it did not stop in time")

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        await asyncio.wait([task])
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return EXIT_OK if task.cancelled() else _exit_code(name, task.exception())


def _exit_code(name: str, error: BaseException | None) -> int:
    if error is None:
        return EXIT_OK
    causes = _causes(error)
    ours = [cause for cause in causes if isinstance(cause, WarrenerError)]
    if ours and len(ours) == len(causes):  # several programs may stumble over one mistake; its first word is enough
        return _refuse(name, next((cause for cause in ours if isinstance(cause, Refused)), ours[0]))
    log.error("the program failed", program=name, exc_info=error)
    return EXIT_TRY_AGAIN


def _causes(error: BaseException) -> list[BaseException]:
    """Return what an exception group is about."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [cause for one in error.exceptions for cause in _causes(one)]


def _refuse(name: str, error: WarrenerError) -> int:
    print(f"{name}: {'; '.join(str(error).splitlines())}", file=sys.stderr)  # noqa: T201 - the last line, for a person
    return EXIT_REFUSED if isinstance(error, Refused) else EXIT_TRY_AGAIN


def end_after(stop_timeout: timedelta, name: str) -> None:
    """Give a program that ends by itself as long for it as after a signal."""
    asyncio.get_running_loop().call_later(
        stop_timeout.total_seconds(), _end_at_once, name, "it did not stop in time"
    )  # fmt: skip


def _end_at_once(name: str, why: str) -> None:
    log.error("ended at once", program=name, reason=why)
    sys.stderr.flush()
    os._exit(EXIT_TRY_AGAIN)
