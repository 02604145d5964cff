"""What stands before every route: the token, the limit of a body, and headers that browsers heed.

One guard denies by default. Exactly `GET /health` is exempt; a prefix or an ending would exempt more than was meant.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 1024 * 1024
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


class Guard:
    """Lets through what carries the token; without a token, whoever may open the socket."""

    def __init__(self, app: App, *, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = _with_headers(send)
        if not self._may(scope):
            await _refuse(answer, 401, _NO_TOKEN, (b"www-authenticate", b"Bearer"))
            return
        body = await _read(scope, receive)
        if body is None:
            await _refuse(answer, 413, _TOO_LARGE, (b"connection", b"close"))
            return
        await self._app(scope, _replay(body, receive), answer)

    def _may(self, scope: Scope) -> bool:
        if self._expected is None or (scope["path"] == "/health" and scope["method"] == "GET"):
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """Read a body whole, chunked or not; None when it is too large."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if b"transfer-encoding" not in headers and length == b"0":
        return b""
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        return None
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
