"""What stands before every route: the token, the room that there is, the limit of a body, headers that browsers heed.

One guard denies by default. Exactly `GET /health` is exempt; a prefix or an ending would exempt more than was meant.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from warrener.errors import Overloaded

from .room import Room

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 30.0
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
_NO_TOKEN = "this gateway wants its token: set WARRENER_TOKEN to the one it was started with"  # noqa: S105 - a sentence
_TOO_LARGE = (
    f"the body is larger than {MAX_BODY_BYTES // 1024} KiB; submit in smaller batches, and stage data instead of"
    " sending it along"
)
_TOO_SLOW = f"the body did not arrive within {BODY_TIMEOUT_S:g} s; nothing was done"


class Guard:
    """Lets through what carries the token; without a token, whoever may open the socket."""

    def __init__(self, app: App, *, token: str, room: Room | None = None) -> None:
        self._app = app
        self._room = room or Room()
        self._expected = f"Bearer {token}".encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = _with_headers(send)
        if not self._may(scope):
            await _refuse(answer, 401, _NO_TOKEN, (b"www-authenticate", b"Bearer"))
            return
        size_bytes = _size(scope)
        if size_bytes > MAX_BODY_BYTES:
            await _refuse(answer, 413, _TOO_LARGE, (b"connection", b"close"))
            return
        submission = scope["path"] == "/runs" and scope["method"] == "POST"
        try:
            with self._room.held_for(submission=submission, size_bytes=size_bytes):
                await self._take(scope, receive, answer)
        except Overloaded as error:
            retry_after = str(math.ceil(error.retry_after_s)).encode()
            await _refuse(answer, 429, str(error), (b"retry-after", retry_after))

    async def _take(self, scope: Scope, receive: Receive, answer: Send) -> None:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read(scope, receive)
        except TimeoutError:
            await _refuse(answer, 408, _TOO_SLOW, (b"connection", b"close"))
            return
        if body is None:
            await _refuse(answer, 413, _TOO_LARGE, (b"connection", b"close"))
            return
        await self._app(scope, _replay(body, receive), answer)

    def _may(self, scope: Scope) -> bool:
        if self._expected is None or (scope["path"] == "/health" and scope["method"] == "GET"):
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def _size(scope: Scope) -> int:
    """Return how large the body says it is; one that does not say may be as large as any."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers or not length.isdigit():
        return MAX_BODY_BYTES
    return int(length)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """Read a body whole, chunked or not; None when it is too large."""
    if not _size(scope):
        return b""
    body = bytearray()
    more = True
    while more:
        event = await receive()
        body += event.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        more = event.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand out a body that was read, then whatever else comes (a disconnection)."""
    left: list[Event] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Event:
        return left.pop() if left else await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def answer(event: Event) -> None:
        if event["type"] == "http.response.start":
            event["headers"] = [*event["headers"], *_HEADERS]
        await send(event)

    return answer


async def _refuse(send: Send, status: int, sentence: str, header: tuple[bytes, bytes]) -> None:
    body = json.dumps({"problems": [sentence]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), header]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
