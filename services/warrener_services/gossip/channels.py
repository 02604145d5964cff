"""Where letters go out: mail and webhooks."""

from __future__ import annotations

import structlog

from .composing import Told, mail, posted
from .mailing import HandedOver, MailServers
from .posting import Webhooks

log = structlog.get_logger(__name__)


class Channels:
    """The mail servers and the webhooks; a letter's destination names which."""

    def __init__(self, servers: MailServers, webhooks: Webhooks) -> None:
        self._servers, self._webhooks = servers, webhooks

    async def send(self, told: Told) -> HandedOver:
        """Send a letter once. Whatever is wrong with it is its outcome, and keeps no other letter."""
        try:
            return await self._send(told)
        except Exception as error:
            log.exception("a letter cannot be sent", letter=told.letter.token)
            return HandedOver("unclear", f"a fault of Warrener's own: {error}")

    async def _send(self, told: Told) -> HandedOver:
        channel, _, to = told.letter.destination.partition(":")
        if channel == "webhook":
            return await self._webhooks.post(to, posted(told))
        return await self._servers.hand_over(mail(told, sender=self._servers.sender, recipient=to), to)
