"""What the programs log: one line per event, JSON for machines, readable on a terminal, without passwords."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO

import structlog

LEVELS = ("debug", "info", "warning", "error")

_PASSWORD = re.compile(r"(://[^\s:/@]*):[^\s/@]+@")
_CHATTY = ("aio_pika", "aiormq", "asyncio", "httpx", "httpcore", "uvicorn.access", "asyncssh", "sqlalchemy", "alembic")


def configure_logs(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Send the log of this process, and of the libraries in it, to a stream (default: stderr)."""
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )  # fmt: skip
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendered(out), hide_passwords],
        )
    )
    logging.getLogger().handlers = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Log from this level on, from now on."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def hide_passwords(_logger: object, _method: str, line: Any) -> str:
    """Replace the password in every URL of a finished line, also in what tracebacks quote."""
    return _PASSWORD.sub(r"\1:***@", str(line))


def _rendered(out: TextIO) -> list[Any]:
    if out.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
