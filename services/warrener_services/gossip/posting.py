"""Posting a letter to a webhook, signed if there is a key."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from warrener.alerts import one_line, redacted
from warrener.errors import InvalidSettings
from warrener.settings import Settings

from .mailing import HandedOver, Verdict, read_private, tls

SIGNATURE = "X-Warrener-Signature"
_TIMEOUT_S = 15.0
_LATER = frozenset({408, 425, 429})


def verdict_of(status: int) -> Verdict:
    """Say what an answer means; no redirection is followed, for it was not what the settings name."""
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP
        return "sent"
    return "again" if status >= 500 or status in _LATER else "refused"  # noqa: PLR2004 - HTTP


class Webhooks:
    """The webhooks, by the names that destinations have."""

    def __init__(self, settings: Settings, urls: Mapping[str, str]) -> None:
        """Raises InvalidSettings."""
        self._urls = dict(urls)
        self._secret: Path | None = settings.webhook_secret
        self._tls = tls(settings.mail_ca)
        if self._secret is not None:
            read_private(self._secret, "WARRENER_WEBHOOK_SECRET")

    async def post(self, name: str, body: Mapping[str, Any]) -> HandedOver:
        """Post a letter. Its `id` tells a repetition, which may come whenever an answer was lost."""
        url = self._urls.get(name)
        if url is None:
            return HandedOver("refused", f"{name}: there is no such webhook any more in the settings")
        raw = json.dumps(body, separators=(",", ":")).encode()
        try:
            headers = {"Content-Type": "application/json", **self._signed(raw)}
            async with httpx.AsyncClient(verify=self._tls, timeout=_TIMEOUT_S, trust_env=False) as client:
                answer = await client.post(url, content=raw, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, InvalidSettings) as error:
            why = redacted(one_line(str(error).replace(url, name) or type(error).__name__, 200))
            never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, InvalidSettings))
            return HandedOver("again" if never_sent else "unclear", f"{name}: {why}")
        verdict = verdict_of(answer.status_code)
        said = "took it ({})" if verdict == "sent" else "answered {}"
        return HandedOver(verdict, f"{name}: {said.format(answer.status_code)}")

    def _signed(self, raw: bytes) -> dict[str, str]:
        if self._secret is None:
            return {}
        key = read_private(self._secret, "WARRENER_WEBHOOK_SECRET").encode()
        return {SIGNATURE: f"sha256={hmac.new(key, raw, hashlib.sha256).hexdigest()}"}
