"""The gateway: serves REST at once, and finds store and broker when they come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import structlog
import uvicorn

from warrener.broker import Message, Subscription
from warrener.errors import BrokerUnavailable, InvalidMessage
from warrener.ids import WorkerName, new_token
from warrener.messages import Body, Elastic, Events, Heartbeat, Members, RollCall, decode, encode
from warrener.topology import CONTROL, control, events

from .app import make_app
from .gateway import Gateway
from .room import MAX_CONNECTIONS

log = structlog.get_logger(__name__)

_PREFETCH = 500
_AGAIN_S = 1.0


async def serve(gateway: Gateway, sock: socket.socket, *, token: str, shards: int, stop_timeout: timedelta) -> None:
    """Serve until cancelled; then finish the requests that are open, within half the stop time-out."""
    server = _Server(_config(gateway, token, stop_timeout))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.open(shards=shards))
        tasks.create_task(gateway.keep_waking())
        tasks.create_task(_hear(gateway))
        tasks.create_task(_watch(gateway))
        await _until_cancelled(gateway, server, sock)


async def _until_cancelled(gateway: Gateway, server: _Server, sock: socket.socket) -> None:
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        gateway.watch.close()
        await serving
    raise RuntimeError("the server of the gateway ended by itself")


class _Server(uvicorn.Server):
    """A server that leaves signals to the program around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(gateway: Gateway, token: str, stop_timeout: timedelta) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(gateway, token=token),
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=max(1, int(stop_timeout.total_seconds() / 2)),
    )


async def _hear(gateway: Gateway) -> None:
    """Keep the roll by the workers' heartbeats, until cancelled."""
    while True:
        try:
            subscription = await gateway.broker.subscribe(
                [control(gateway.name, "heartbeat", "member", "elastic")], prefetch=_PREFETCH
            )
            try:
                await gateway.broker.publish(_roll_call(gateway))
                await _hear_from(gateway, subscription)
            finally:
                await subscription.close()
        except BrokerUnavailable as error:
            log.debug("hearing no workers", reason=str(error))
            await asyncio.sleep(_AGAIN_S)


def _roll_call(gateway: Gateway, describe: Sequence[str] = ()) -> Message:
    body = encode(RollCall(describe=[WorkerName(name) for name in describe]))
    return Message(CONTROL, "rollcall", RollCall.KIND, body, new_token(gateway.rng), durable=False, mandatory=False)


async def _hear_from(gateway: Gateway, subscription: Subscription) -> None:
    while True:
        deliveries = await subscription.take(_PREFETCH)
        for delivery in deliveries:
            if delivery.kind in (Heartbeat.KIND, Members.KIND, Elastic.KIND):
                try:
                    _take(gateway, decode(delivery.kind, delivery.body, Heartbeat, Members, Elastic))
                except InvalidMessage as error:
                    log.debug("what cannot be read", kind=delivery.kind, reason=str(error))
        await subscription.settle(deliveries)
        if unknown := gateway.roll.to_describe(gateway.clock.now()):
            await gateway.broker.publish(_roll_call(gateway, unknown))


def _take(gateway: Gateway, body: Body) -> None:
    if isinstance(body, Heartbeat):
        gateway.roll.hear(body, gateway.clock.now())
    elif isinstance(body, Members):
        gateway.roll.hear_gossip(body, gateway.clock.now())
    elif isinstance(body, Elastic):
        gateway.pools.hear(body, gateway.clock.now())


async def _watch(gateway: Gateway) -> None:
    """Wake the watchers of runs by events, until cancelled."""
    while True:
        try:
            subscription = await gateway.broker.subscribe([events(gateway.name, "runs", "tasks")], prefetch=_PREFETCH)
            try:
                await _watch_by(gateway, subscription)
            finally:
                await subscription.close()
        except BrokerUnavailable as error:
            log.debug("hearing no events; watchers look by themselves", reason=str(error))
            await asyncio.sleep(_AGAIN_S)


async def _watch_by(gateway: Gateway, subscription: Subscription) -> None:
    while True:
        deliveries = await subscription.take(_PREFETCH)
        for delivery in deliveries:
            try:
                message = decode(delivery.kind, delivery.body, Events)
            except InvalidMessage as error:
                log.debug("events that cannot be read", reason=str(error))
            else:
                gateway.watch.happened(event.run for event in message.events)
        await subscription.settle(deliveries)
