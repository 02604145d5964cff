"""A user's own worker: functions, registered by name, that workflows call.

    worker = Worker("images")

    @worker.function
    def thumbnail(path: str, size: int = 128) -> dict: ...

    worker.run()

A workflow calls `images.thumbnail` with arguments by name. Only registered functions can be called; nothing is ever
imported or evaluated because a message says so.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from warrener.broker import Broker
from warrener.errors import Cause, InvalidSettings, TaskFailed
from warrener.ids import AttemptRef, is_name
from warrener.messages import Json, Kind
from warrener.performer import Assignment
from warrener.settings import Settings
from warrener.worker.own_context import in_own_context
from warrener.worker.threads import in_thread

if TYPE_CHECKING:
    from warrener.worker.several import Several

F = TypeVar("F", bound=Callable[..., Any])

_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}(?:\.[A-Za-z_][A-Za-z0-9_]{0,127}){0,7}")


@dataclass(frozen=True, slots=True)
class Function:
    """A registered function. A coroutine function runs on the loop, any other in a thread."""

    name: str
    call: Callable[..., Any]
    signature: inspect.Signature
    on_loop: bool
    by_name: frozenset[str]
    """Parameters that can be given by name."""
    required: frozenset[str]
    """Parameters that must be given."""

    def bind(self, args: Json) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Check arguments against the signature; raises TaskFailed(REFUSED) naming what is wrong."""
        if isinstance(args, dict) and self.required <= args.keys() <= self.by_name:
            return (), args
        try:
            if isinstance(args, Mapping):
                self.signature.bind(**args)
                return (), dict(args)
            if isinstance(args, Sequence) and not isinstance(args, str):
                self.signature.bind(*args)
                return tuple(args), {}
        except TypeError as error:
            raise TaskFailed(Cause.REFUSED, self._wrong(args, error)) from error
        raise TaskFailed(
            Cause.REFUSED, f"{self.name}: args must be an object of arguments by name, or a list, not {args!r:.80}"
        )

    def _wrong(self, args: Json, error: TypeError) -> str:
        known = self.signature.parameters
        given = set(args) if isinstance(args, Mapping) else set()
        unknown = sorted(given - set(known))
        missing = [name for name in known if isinstance(args, Mapping) and name in self.required - given]
        faults = [f"no argument {name!r}" for name in unknown] + [f"{name!r} is missing" for name in missing]
        return f"{self.name}{self.signature} cannot be called like this: {', '.join(faults) or error}"


class Worker:
    """A worker of calls. `app` is its name in workflows: lower-case letters, digits and dashes."""

    def __init__(self, app: str) -> None:
        if not is_name(app):
            raise InvalidSettings(f"the app name {app!r} must have 1 to 64 of a-z, 0-9 and -, without - at its ends")
        self.app = app
        self.functions: dict[str, Function] = {}
        """By their full name, `app.function`."""

    @overload
    def function(self, call: F) -> F: ...
    @overload
    def function(self, *, name: str) -> Callable[[F], F]: ...
    def function(self, call: F | None = None, *, name: str | None = None) -> F | Callable[[F], F]:
        """Register a function, under its own name unless told otherwise; the function itself stays as it is."""
        if call is None:
            return partial(self._register, name=name)
        return self._register(call)

    def _register(self, call: F, name: str | None = None) -> F:
        own = name or str(getattr(call, "__name__", ""))
        if not _FUNCTION_NAME.fullmatch(own):
            raise InvalidSettings(f"{own!r} cannot name a function of {self.app}; say @worker.function(name=...)")
        full = f"{self.app}.{own}"
        if full in self.functions:
            raise InvalidSettings(f"{full} is registered twice; give one of them another name")
        if inspect.isasyncgenfunction(call) or inspect.isgeneratorfunction(call):
            raise InvalidSettings(f"{full} is a generator; a function of a worker returns its output at once")
        on_loop = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004 - callable objects with `async def __call__`
        self.functions[full] = _function(full, call, on_loop=on_loop)
        return call

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C, on the broker of `WARRENER_BROKER`; ends the process with its exit code."""
        from warrener.runtime.serve import serve_program

        sys.exit(serve_program(self.serve, name=f"worker {self.app}"))

    async def serve(self, settings: Settings, broker: Broker | None = None, several: Several | None = None) -> None:
        """Serve until cancelled, on this broker or that of the settings; one of `several` shares their slots."""
        from warrener.worker.program import run_worker
        from warrener.worker.threads import CallThreads

        threads = CallThreads(settings.slots)
        try:
            await run_worker(settings, broker, CallPerformer(self, threads), apps=(self.app,), several=several)
        finally:
            threads.shutdown()


def _function(name: str, call: Callable[..., Any], *, on_loop: bool) -> Function:
    signature = inspect.signature(call)
    parameters = signature.parameters.values()
    by_name = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    required = [
        one.name for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]  # fmt: skip
    return Function(name, call, signature, on_loop, frozenset(by_name), frozenset(required))


class CallPerformer:
    """Performs calls: functions of one `Worker`; those that block run in the executor given."""

    kind = Kind.CALL

    def __init__(self, worker: Worker, executor: Executor) -> None:
        self._worker = worker
        self._executor = executor

    async def perform(self, assignment: Assignment) -> Json:
        body = assignment.order.body
        function = self._worker.functions.get(body.get("function", ""))
        if function is None:
            raise TaskFailed(Cause.REFUSED, self._unknown(str(body.get("function", ""))))
        args, kwargs = function.bind(body.get("args", {}))
        try:
            if function.on_loop:
                return await in_own_context(function.call(*args, **kwargs))
            result = await in_thread(self._executor, partial(copy_context().run, function.call, *args, **kwargs))
            # A plain function may hand over what is to be awaited, for example behind a decorator.
            return await result if inspect.isawaitable(result) else result
        except (SystemExit, KeyboardInterrupt) as error:
            raise TaskFailed(Cause.ERROR, f"{function.name} tried to end the process: {error!r}") from error

    async def extended(self, assignment: Assignment) -> None:
        """Nothing outlives the worker, so nothing needs the lease."""

    async def recover(self) -> Sequence[Assignment]:
        return ()

    async def forget(self, ref: AttemptRef) -> None:
        """Nothing is kept about an attempt."""

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._worker.functions, n=3)
        known = ", ".join(near or sorted(self._worker.functions)[:10]) or "(none)"
        hint = "did you mean" if near else "it has"
        return f"the worker {self._worker.app} has no function {name[:80]!r}; {hint} {known}"
