"""`messages`: everything that travels comes again: at once, in another order, much later, or dated a day ago."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from warrener.messages import Orders
from warrener.signing import HEADER, OrderSigner, read_keys
from warrener.topology import CONTROL, ORDERS, REPORTS

from .campaign import Campaign

_MARK = "chaos"
_KEPT = 20_000
_BATCH = 100
_PAUSE_S = 0.04
"""2,500 messages a second: more than the load itself makes."""


@dataclass(frozen=True, slots=True)
class _Heard:
    exchange: str
    routing_key: str
    message: aio_pika.Message


async def messages(campaign: Campaign) -> None:
    """Listen to all exchanges, and send what is heard again and again."""
    deployment, rng = campaign.deployment, campaign.rng
    wanted, sent = campaign.trials(100_000, 3_000), 0
    signer = read_keys(deployment.keys).signer
    heard: list[_Heard] = []
    connection = await aio_pika.connect(deployment.rabbitmq.url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=False)
        exchanges = {name: await channel.get_exchange(name, ensure=False) for name in (ORDERS, REPORTS, CONTROL)}
        await _listen(campaign, channel, heard)
        while sent < wanted:
            await asyncio.sleep(_PAUSE_S)
            if len(heard) < _BATCH // 2:
                continue
            fresh, old = heard[-_BATCH:], heard[:-_BATCH] or heard
            some = [rng.choice(fresh if rng.random() < 0.4 else old) for _ in range(_BATCH)]
            dated = [_day_old(one, signer) if rng.random() < 0.3 else one for one in some]
            await asyncio.gather(
                *(exchanges[one.exchange].publish(one.message, one.routing_key, mandatory=False) for one in dated)
            )
            sent += len(dated)
            del heard[: max(0, len(heard) - _KEPT)]
    campaign.over("come again", "messages", 0, trials=sent)


async def _listen(campaign: Campaign, channel: AbstractChannel, heard: list[_Heard]) -> None:
    workers = [name for name in campaign.deployment.programs if name.partition("-")[0] in ("job", "call")]
    keys = {
        ORDERS: ["job", "call.chaos", *(f"worker.{name}" for name in workers)],
        REPORTS: [*map(str, range(64)), "submissions", *(f"answers.{name}" for name in workers)],
        CONTROL: ["#"],
    }
    queue = await channel.declare_queue("chaos", exclusive=True, arguments={"x-max-length": 50_000})
    for exchange, words in keys.items():
        for word in words:
            await queue.bind(exchange, word)

    def take(message: AbstractIncomingMessage) -> None:
        if _MARK not in (message.headers or {}) and message.exchange:
            heard.append(_Heard(message.exchange, message.routing_key or "", _copy(message, message.body)))

    async def on_message(message: AbstractIncomingMessage) -> None:
        take(message)

    await queue.consume(on_message, no_ack=True)


def _copy(message: AbstractIncomingMessage | aio_pika.Message, body: bytes, **headers: str) -> aio_pika.Message:
    return aio_pika.Message(
        body, headers={**(message.headers or {}), **headers, _MARK: "1"}, content_type=message.content_type,
        delivery_mode=message.delivery_mode, priority=message.priority, correlation_id=message.correlation_id,
        reply_to=message.reply_to, message_id=message.message_id, type=message.type, timestamp=message.timestamp,
    )  # fmt: skip


def _day_old(heard: _Heard, signer: OrderSigner) -> _Heard:
    """Return orders as if they had been issued yesterday, with a signature that says so; all else as it is."""
    if heard.message.type != Orders.KIND:
        return heard
    body = json.loads(heard.message.body)
    body["issued_at"] = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    raw = json.dumps(body).encode()
    return _Heard(heard.exchange, heard.routing_key, _copy(heard.message, raw, **{HEADER: signer.sign(raw)}))
