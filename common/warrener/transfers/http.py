"""`http:` and `https:` transfers: fetching only, from addresses that were checked first.

Redirects are followed by hand, five at most, each to an address checked anew; never from https down to http.
The body is stored as it travels (no decoding), so that sizes and checksums are those of the source. Proxies
of the environment are not used: a proxy would resolve the name again, unchecked. Trying again is the
scheduler's business.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx

from warrener.errors import Cause, TaskFailed
from warrener.site import Site
from warrener.transfer import Transferred
from warrener.transfers import addresses
from warrener.transfers.arrival import receive
from warrener.transfers.file import in_run

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
_PIECE_BYTES = 1024 * 1024


class HttpTransfer:
    """Fetches over HTTP 1.1.

    `allowed` are the hosts that may have private addresses; `limit_bytes` bounds what one file may have;
    `timeout` bounds connecting, and each wait for more data.
    """

    schemes: tuple[str, ...] = ("http", "https")

    def __init__(
        self,
        site: Site,
        allowed: Iterable[str] = (),
        *,
        limit_bytes: int = 1 << 40,
        timeout: timedelta = timedelta(seconds=60),
        resolve: addresses.Resolve = addresses.resolve,
    ) -> None:
        self._runs = site.root / "runs"
        self._allowed = frozenset(host.lower() for host in allowed)
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout.total_seconds()
        self._resolve = resolve

    async def fetch(
        self, source: str, destination: Path, *, sha256: str | None, progress: Callable[[int], None]
    ) -> Transferred:
        to = in_run(self._runs, destination)
        url = _parsed(source)
        try:
            async with self._response(url) as response:
                size_bytes = self._announced(response, url)
                return await receive(
                    self._pieces(response, url),
                    shown(url),
                    to,
                    size_bytes=size_bytes,
                    sha256=sha256,
                    progress=progress,
                )
        except httpx.HTTPError as error:
            raise self._failure(error, url) from error

    async def deliver(
        self,
        source: Path,
        destination: str,
        *,
        progress: Callable[[int], None],  # noqa: ARG002 - the contract has it
    ) -> Transferred:
        raise TaskFailed(
            Cause.REFUSED,
            f"cannot deliver {source} to {destination}: nothing is written over HTTP; deliver to a file: URL",
        )

    @asynccontextmanager
    async def _response(self, url: httpx.URL) -> AsyncIterator[httpx.Response]:
        """Hold the answer with the file open, behind all redirects."""
        timeout = httpx.Timeout(self._timeout_s, connect=min(10.0, self._timeout_s))
        async with httpx.AsyncClient(verify=ssl.create_default_context(), timeout=timeout, trust_env=False) as client:
            here = url
            for _ in range(MAX_REDIRECTS + 1):
                response = await self._ask(client, here)
                try:
                    if response.status_code == httpx.codes.OK:
                        yield response
                        return
                    here = _next(response, here, url)
                finally:
                    await response.aclose()
        raise TaskFailed(Cause.STAGE, f"cannot stage {shown(url)}: more than {MAX_REDIRECTS} redirects")

    async def _ask(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        """Send the request to a checked address of the URL's host, in turn until one takes the connection."""
        port = url.port or _PORTS[url.scheme]
        found = await addresses.checked(url.host, port, self._allowed, self._resolve)
        refused: httpx.HTTPError = httpx.ConnectError(f"{url.host} has no address")
        for address in found:
            request = client.build_request(
                "GET",
                url.copy_with(host=address),
                headers={
                    "Host": url.netloc.decode(),
                    "Accept-Encoding": "identity",
                    "User-Agent": "warrener",
                },
                extensions={"sni_hostname": url.host},
            )
            try:
                return await client.send(request, stream=True, follow_redirects=False)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refused = error
        raise refused

    def _announced(self, response: httpx.Response, url: httpx.URL) -> int | None:
        text = response.headers.get("Content-Length", "")
        size_bytes = int(text) if text.isdecimal() else None
        if size_bytes is not None and size_bytes > self._limit_bytes:
            raise self._too_large(url, size_bytes)
        return size_bytes

    async def _pieces(self, response: httpx.Response, url: httpx.URL) -> AsyncIterator[bytes]:
        so_far_bytes = 0
        async for piece in response.aiter_raw(_PIECE_BYTES):
            so_far_bytes += len(piece)
            if so_far_bytes > self._limit_bytes:
                raise self._too_large(url, so_far_bytes)
            yield piece

    def _too_large(self, url: httpx.URL, size_bytes: int) -> TaskFailed:
        return TaskFailed(
            Cause.STAGE,
            f"cannot stage {shown(url)}: it has {size_bytes} bytes or more, {self._limit_bytes} are allowed",
        )

    def _failure(self, error: httpx.HTTPError, url: httpx.URL) -> TaskFailed:
        said = str(error) or type(error).__name__
        if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
            reason = f"{url.host} does not take the connection: {said}"
        elif isinstance(error, httpx.TimeoutException):
            reason = f"no data for {self._timeout_s:g} s"
        elif isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
            reason = f"the server broke off: {said}"
        else:
            reason = said
        return TaskFailed(Cause.STAGE, f"cannot stage {shown(url)}: {reason}")


def shown(url: httpx.URL) -> str:
    """Spell a URL for people; a query may hold a signature, so it is left out."""
    return f"{url.copy_with(query=None, fragment=None)}{'?…' if url.query else ''}"


def _parsed(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise TaskFailed(Cause.REFUSED, f"{text!r} is not a URL: {error}") from error
    if url.userinfo:
        raise TaskFailed(
            Cause.REFUSED, f"the URL of {url.host} holds a user or password: workflows are stored and shown"
        )
    if url.scheme not in _PORTS or not url.host:
        raise TaskFailed(Cause.REFUSED, f"{shown(url)} is not an http: or https: URL with a host")
    return url


def _next(response: httpx.Response, here: httpx.URL, asked: httpx.URL) -> httpx.URL:
    """Return where an answer other than 200 sends us; raises TaskFailed if nowhere."""
    if response.status_code not in _REDIRECTS or "Location" not in response.headers:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        behind = "" if here == asked else f" (after a redirect to {shown(here)})"
        raise TaskFailed(Cause.STAGE, f"cannot stage {shown(asked)}: the server answered HTTP {status}{behind}")
    try:
        there = here.join(response.headers["Location"])
    except httpx.InvalidURL as error:
        raise TaskFailed(Cause.STAGE, f"{shown(here)} redirects to what is not a URL: {error}") from error
    if here.scheme == "https" and there.scheme == "http":
        raise TaskFailed(Cause.REFUSED, f"{shown(here)} redirects from https down to http: {shown(there)}")
    return _parsed(str(there))
