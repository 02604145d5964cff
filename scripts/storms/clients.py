"""How the load reaches a deployment: through the broker, or through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Protocol

from orchestrator.client import Orchestrator
from warrener.async_client import AsyncClient
from warrener.brokers import open_broker
from warrener.errors import BrokerUnavailable, Conflict, GatewayUnavailable, Overloaded
from warrener.ids import RunId
from warrener.messages import RunRequest
from warrener.settings import Settings
from warrener.signing import read_submit_key
from warrener.views import RunAsked

from .load import Definition

_AGAIN_S = 0.1


class Client(Protocol):
    """Submits and cancels; both go on until they are through, however often the other side dies."""

    async def submit(self, workflow: Definition, run: RunRequest) -> RunId:
        """Return the run once it is committed; the same key gives the same run."""
        ...

    async def cancel(self, run: RunId) -> None: ...


class ByBroker:
    """Speaks AMQP, as another program's orchestrator would."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def submit(self, workflow: Definition, run: RunRequest) -> RunId:
        (answer,) = await self._orchestrator.submit(workflow, [run])
        if answer.run is None:
            raise SystemExit(f"{run.key} was refused: {'; '.join(answer.problems)}")
        return answer.run

    async def cancel(self, run: RunId) -> None:
        while True:
            with suppress(BrokerUnavailable):
                return await self._orchestrator.cancel([run])
            await asyncio.sleep(_AGAIN_S)


class ByGateway:
    """Speaks REST over the deployment's Unix socket."""

    def __init__(self, client: AsyncClient, owner: str) -> None:
        self._client, self._owner = client, owner

    async def submit(self, workflow: Definition, run: RunRequest) -> RunId:
        asked = RunAsked(key=run.key, params=run.params, priority=run.priority)
        while True:
            with suppress(GatewayUnavailable, Overloaded):
                (found,) = await self._client.submit_many(workflow, [asked], owner=self._owner)
                return RunId(found.id)
            await asyncio.sleep(_AGAIN_S)

    async def cancel(self, run: RunId) -> None:
        while True:
            with suppress(GatewayUnavailable):
                with suppress(Conflict):  # it has ended already
                    await self._client.cancel(run)
                return
            await asyncio.sleep(_AGAIN_S)


@asynccontextmanager
async def clients(settings: Settings, owner: str, rng: Random) -> AsyncIterator[dict[str, Client]]:
    """Lend the clients that reach this deployment, by name; the in-process broker cannot be reached from outside."""
    async with AsyncClient(settings.listen_url) as rest:
        found: dict[str, Client] = {"gateway": ByGateway(rest, owner)}
        if settings.broker.startswith("memory:"):
            yield found
            return
        broker = open_broker(settings.broker, name="storm")
        try:
            async with Orchestrator(broker, read_submit_key(settings.keys_folder), owner, rng) as orchestrator:
                yield {**found, "broker": ByBroker(orchestrator)}
        finally:
            await broker.close()
