"""Parked messages: look at them, publish them again, drop them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from warrener.alerts import Alert, AlertKind
from warrener.broker import Message
from warrener.errors import NotFound
from warrener.ids import new_token
from warrener.store import Changes, ParkedMessage, Transaction
from warrener.views import LIMIT, ParkedDetail, ParkedView
from warrener_services.gateway.gateway import Gateway
from warrener_services.gateway.looking import parked_detail, parked_view

from .given import TheGateway

router = APIRouter(prefix="/parked", tags=["parked messages"])

TheNumber = Annotated[int, Path(ge=1, le=2**62, description="The number of a parked message.")]


@router.get("", summary="List parked messages, newest first")
async def parked(gateway: TheGateway, limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100) -> list[ParkedView]:
    """List messages that nobody could handle."""
    return [parked_view(message) for message in await gateway.read(lambda tx: tx.notes.parked(limit))]


@router.get("/{number}", summary="Look at a parked message")
async def show(number: TheNumber, gateway: TheGateway) -> ParkedDetail:
    """Return its body as text, up to 64 KiB, and its headers without signatures."""
    return parked_detail(await _one(gateway, number))


@router.post("/{number}/replay", summary="Publish a parked message again")
async def replay(number: TheNumber, gateway: TheGateway) -> ParkedView:
    """Publish it to where it came from, and forget it once the broker has it. Receivers know duplicates."""
    parked = await _one(gateway, number)
    message = Message(
        parked.exchange,
        parked.routing_key,
        parked.kind,
        parked.body,
        new_token(gateway.rng),
        headers=parked.headers,
    )
    await gateway.broker.publish(message)
    await _unpark(gateway, parked, "was published again")
    return parked_view(parked)


@router.delete("/{number}", summary="Drop a parked message for good")
async def drop(number: TheNumber, gateway: TheGateway) -> ParkedView:
    """Forget it; there is no way back."""
    message = await _one(gateway, number)
    await _unpark(gateway, message, "was dropped")
    return parked_view(message)


async def _unpark(gateway: Gateway, message: ParkedMessage, what: str) -> None:
    over = Alert(AlertKind.MESSAGE_PARKED, message.message_id, f"The parked message {message.id} {what}.", over=True)
    now = gateway.clock.now()

    def work(tx: Transaction) -> None:
        tx.notes.unpark(message.id)
        tx.write(Changes(alerts=[(over, now)]))

    await gateway.write(work)


async def _one(gateway: Gateway, number: int) -> ParkedMessage:
    message = await gateway.read(lambda tx: tx.notes.parked_one(number))
    if message is None:
        raise NotFound(f"there is no parked message {number}; `warrener parked list` lists them")
    return message
