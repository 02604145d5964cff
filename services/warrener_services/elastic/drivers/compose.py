"""Workers as containers of one service of docker compose.

Growing is compose's own `--scale`. Shrinking is not: compose would stop the container with the highest number at once.
So that one is drained first, by the signal that drains a worker, and removed when it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from warrener.messages import Heartbeat
from warrener_services.elastic.driver import Crew, DriverFailed
from warrener_services.elastic.rules import Compose

from .asking import ask

_WITHIN_S = 120.0
_HOST_NAME = 12
"""A container's host name, by default, is the beginning of its id."""
_FORMAT = (
    "{{.Id}} {{.State.Running}} {{.State.StartedAt}}"
    ' {{with index .Config.Labels "com.docker.compose.container-number"}}{{.}}{{else}}0{{end}}'
    ' {{eq (index .Config.Labels "com.docker.compose.oneoff") "True"}}'
)
"""The last one tells a container of `docker compose run`, which is somebody's own."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Container:
    id: str
    running: bool
    started: str
    """When, as Docker writes it: another life of the container began at another time."""
    number: int
    one_off: bool

    @property
    def host(self) -> str:
        return self.id[:_HOST_NAME]


class ComposeDriver:
    """The containers of one service. `patience_s`: how long one that drains may take."""

    def __init__(self, pool: str, told: Compose, *, patience_s: float) -> None:
        self._pool, self._told, self._patience_s = pool, told, patience_s
        self._leaving: dict[str, tuple[str, float]] = {}
        """By container: when the life began that is to end, and since when it drains."""

    @property
    def exclusive_to(self) -> str:
        return self._pool

    async def look(self) -> Crew:
        containers = await self._containers()
        await self._remove([one for one in containers if not one.running and self._drains(one)])
        running = [one for one in containers if one.running]
        drained = [one for one in running if self._drains(one)]
        self._leaving = {one.id: self._leaving[one.id] for one in drained}
        await self._hurry(drained)
        working = frozenset(one.host for one in running if one not in drained)
        leaving = frozenset(one.host for one in drained)

        def member_of(beat: Heartbeat) -> str | None:
            return beat.host if beat.host in working | leaving else None

        return Crew(working, leaving, member_of)

    async def scale(self, count: int, load: Mapping[str, int]) -> None:  # noqa: ARG002 - the contract's
        crew = await self.look()
        if count > crew.count:
            # Compose counts those that ended: it would start them again, or remove running ones in their place.
            await self._remove([one for one in await self._containers() if not one.running])
            total = count + len(crew.leaving)
            await self._compose("up", "-d", "--no-recreate", "--scale", f"{self._told.service}={total}",
                                self._told.service)  # fmt: skip
            log.info("compose scales a service", pool=self._pool, service=self._told.service, count=total)
            return
        working = [one for one in await self._containers() if one.host in crew.working]
        for one in sorted(working, key=lambda one: -one.number)[: crew.count - count]:
            await self._docker("update", "--restart=no", one.id)  # it must not come back when it has ended
            await self._docker("kill", "--signal=USR1", one.id)
            self._leaving[one.id] = one.started, asyncio.get_running_loop().time()
            log.info("drains a container", pool=self._pool, container=one.host, number=one.number)

    def _drains(self, one: _Container) -> bool:
        """Tell whether it was told to leave, in this life of it."""
        return one.id in self._leaving and self._leaving[one.id][0] == one.started

    async def _remove(self, ended: Sequence[_Container]) -> None:
        for one in ended:
            await self._docker("rm", one.id)

    async def _hurry(self, leaving: Sequence[_Container]) -> None:
        now_s = asyncio.get_running_loop().time()
        for one in leaving:
            if now_s - self._leaving[one.id][1] > self._patience_s:
                log.warning("a container drains for too long; it is stopped", pool=self._pool, container=one.host)
                await self._docker("stop", one.id)

    async def _containers(self) -> list[_Container]:
        try:
            return await self._inspected()
        except DriverFailed:  # one of them may have gone between the two questions
            return await self._inspected()

    async def _inspected(self) -> list[_Container]:
        ids = (await self._compose("ps", "-q", "-a", self._told.service)).split()
        if not ids:
            return []
        printed = await self._docker("inspect", "--format", _FORMAT, *ids)
        containers = [_read(line) for line in printed.splitlines() if line.strip()]
        return [one for one in containers if not one.one_off]

    async def _compose(self, *words: str) -> str:
        return await ask([*self._told.compose, *words], within_s=_WITHIN_S, folder=self._told.folder)

    async def _docker(self, *words: str) -> str:
        return await ask([*self._told.docker, *words], within_s=_WITHIN_S)


def _read(line: str) -> _Container:
    try:
        name, running, started, number, one_off = line.split()
        return _Container(name, running == "true", started, int(number), one_off == "true")
    except ValueError as error:
        raise DriverFailed(f"docker inspect printed {line[:80]!r}, which is no container of compose") from error
