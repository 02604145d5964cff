"""A small web server for tests, which also does what broken servers do."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced_bytes: int | None = None  # a Content-Length that is not true
    unannounced: bool = False  # no Content-Length: the body ends with the connection
    stalls: bool = False  # the body stops in the middle until the server ends


class WebServer:
    """Serves `pages` by path; remembers the `Host` of each request."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.hosts: list[str] = []
        self.asked = threading.Event()
        self.ends = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    @contextmanager
    def running(self) -> Iterator[WebServer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.ends.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.hosts.append(self.headers["Host"])
                web.asked.set()
                page = web.pages.get(self.path, Page(b"nothing here", 404))
                self.send_response(page.status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                if not page.unannounced:
                    size_bytes = len(page.body) if page.announced_bytes is None else page.announced_bytes
                    self.send_header("Content-Length", str(size_bytes))
                self.end_headers()
                half = len(page.body) // 2
                self.wfile.write(page.body[:half])
                self.wfile.flush()
                if page.stalls:
                    web.ends.wait(30)
                with suppress(ConnectionError):  # a client may go
                    self.wfile.write(page.body[half:])

            def log_message(self, *_args: object) -> None:
                """Tests say what matters."""

        return Handler
