"""A context of its own for a coroutine that shares its task with others: what it sets in a ContextVar stays with it."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def in_own_context(what: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Run a coroutine to its end in a copy of this context."""
    run = copy_context().run
    try:
        waits_for = run(what.send, None)
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                waits_for = run(what.throw, error)
            else:
                waits_for = run(what.send, value)
    except StopIteration as end:
        result: T = end.value
        return result
