"""What the trial does to containers, and undoes: they are killed, frozen, or cut off their networks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from .engine import Container, Engine, StackError

_SHORT_S, _LONG_S = 8.0, 40.0
_FREEZES = 10
_LONG_SHARE = 0.08
"""Longer than a lease, so that work is placed anew while its worker may still be about."""


class FaultKind(StrEnum):
    """What is done."""

    KILL = "kill"
    PAUSE = "pause"
    CUT = "cut off"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what is done to which service, after a pause, for how long."""

    kind: FaultKind
    service: str
    after_s: float
    for_s: float

    def __str__(self) -> str:
        return f"{self.kind} {self.service} for {self.for_s:.1f} s"


def faults(services: Sequence[str], rng: Random, *, short: bool) -> Iterator[Fault]:
    """Yield faults without end, so that each kind meets each service before any meets it again."""
    pairs = [(kind, service) for service in sorted(services) for kind in FaultKind]
    while True:
        rng.shuffle(pairs)
        for kind, service in pairs:
            is_long = not short and rng.random() < _LONG_SHARE
            most_s = _SHORT_S / 2 if short else _SHORT_S
            yield Fault(kind, service, rng.uniform(0.5, 2.0), _LONG_S if is_long else rng.uniform(1.0, most_s))


def inflict(engine: Engine, fault: Fault) -> None:
    """Let a fault happen, for as long as it takes, and undo it; raises StackError."""
    container = engine.containers().get(fault.service)
    if container is None or container.state != "running":
        raise StackError(f"{fault.service} does not run: {container.state if container else 'no container'}")
    _begin(engine, fault.kind, container)
    try:
        time.sleep(fault.for_s)
    finally:
        _end(engine, fault.kind, container)


def undo_all(engine: Engine, before: Mapping[str, Container]) -> None:
    """Bring back whatever is down or cut off; `before` is how it was when nothing was."""
    for container in engine.containers().values():
        if container.state == "paused":
            engine.docker("unpause", container.id)
        elif container.state != "running":
            engine.docker("start", container.id)
        _connect(engine, before[container.service], besides=container.networks)


def _begin(engine: Engine, kind: FaultKind, container: Container) -> None:
    match kind:
        case FaultKind.KILL:
            with suppress(StackError):  # it may have ended by itself just now
                engine.docker("kill", container.id)
        case FaultKind.PAUSE:
            _pause(engine, container)
        case FaultKind.CUT:
            for network in container.networks:
                engine.docker("network", "disconnect", network, container.id)


def _pause(engine: Engine, container: Container) -> None:
    """Freeze a container; the kernel may take more than one try while processes begin in it."""
    for tries_left in reversed(range(_FREEZES)):
        try:
            engine.docker("pause", container.id)
        except StackError:
            if not tries_left:
                raise
            time.sleep(0.2)
        else:
            return


def _end(engine: Engine, kind: FaultKind, container: Container) -> None:
    match kind:
        case FaultKind.KILL:
            engine.docker("start", container.id)  # the engine itself restarts no container that was killed by command
        case FaultKind.PAUSE:
            engine.docker("unpause", container.id)
        case FaultKind.CUT:
            _connect(engine, container)


def _connect(engine: Engine, container: Container, *, besides: Iterable[str] = ()) -> None:
    """Connect a container to its networks again, under the names that it had there: they went with the connection."""
    for network in container.networks.keys() - set(besides):
        names = [word for alias in container.networks[network] for word in ("--alias", alias)]
        engine.docker("network", "connect", *names, network, container.id)
