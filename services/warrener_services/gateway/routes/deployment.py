"""The deployment: its workers, its health, the schema of workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version

from fastapi import APIRouter, Response

from warrener.broker import Message
from warrener.errors import StoreUnavailable, Unavailable
from warrener.ids import new_token
from warrener.messages import Json, RollCall, encode
from warrener.topology import CONTROL
from warrener.views import Health, MemberView, PoolView, WorkerView
from warrener.workflow_schema import json_schema
from warrener_services.gateway.gateway import Gateway
from warrener_services.gateway.standing import standing

from .given import TheGateway

router = APIRouter(tags=["deployment"])

_PATIENCE_S = 3.0


@router.get("/workers", summary="List the workers that were heard")
async def workers(gateway: TheGateway) -> Sequence[WorkerView]:
    """A worker is `silent` when it was not heard for 35 s, and `gone` when it said so; `note` says what is wrong."""
    now = gateway.clock.now()
    heard = gateway.roll.call(now)
    try:
        return await gateway.read(lambda tx: standing(heard, tx, now))
    except StoreUnavailable:
        return heard  # without what the store knows of them


@router.get("/members", summary="List the members of the gossip pool")
async def members(gateway: TheGateway) -> Sequence[MemberView]:
    """What gossip thinks of every host; those that failed stay for a day, those that left for an hour."""
    return gateway.roll.members(gateway.clock.now())


@router.get("/pools", summary="List the pools of workers that start and stop by rules")
async def pools(gateway: TheGateway) -> Sequence[PoolView]:
    """What `warrener serve elastic` says of its pools; `silent` after 15 s without a word."""
    return gateway.pools.list(gateway.clock.now())


@router.get("/health", summary="Tell whether submissions are taken", responses={503: {"model": Health}})
async def health(gateway: TheGateway, response: Response) -> Health:
    """Needs no token. 200: the store is there. Without the broker, work is accepted and starts later."""
    store, trouble = await asyncio.gather(_store_there(gateway), _broker_trouble(gateway))
    response.status_code = 200 if store else 503
    return Health(store=store, broker=not trouble, broker_trouble=trouble, version=version("warrener"))


@router.get("/schema", summary="Get the JSON schema of workflows")
async def schema() -> Json:
    """For editors; `warrener validate` says more than a schema can."""
    return json_schema()


async def _store_there(gateway: Gateway) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await gateway.read(lambda tx: tx.notes.parked(1))
    except (Unavailable, TimeoutError):
        return False
    return True


async def _broker_trouble(gateway: Gateway) -> str:
    """Return what is wrong with the broker; it tells of its alarms only whoever publishes, so this does."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            if not gateway.broker.trouble():
                await gateway.broker.publish(
                    Message(CONTROL, "probe", RollCall.KIND, encode(RollCall()), new_token(gateway.rng),
                            durable=False, mandatory=False)
                )  # fmt: skip
    except (Unavailable, TimeoutError) as error:
        return gateway.broker.trouble() or str(error) or "the broker does not answer in time"
    return gateway.broker.trouble()
