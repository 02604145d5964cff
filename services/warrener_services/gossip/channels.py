"""Where letters go out: mail and webhooks."""

from __future__ import annotations

from .composing import Told, mail, posted
from .mailing import HandedOver, MailServers
from .posting import Webhooks


class Channels:
    """The mail servers and the webhooks; a letter's destination names which."""

    def __init__(self, servers: MailServers, webhooks: Webhooks) -> None:
        self._servers, self._webhooks = servers, webhooks

    async def send(self, told: Told) -> HandedOver:
        """Send a letter once."""
        channel, _, to = told.letter.destination.partition(":")
        if channel == "webhook":
            return await self._webhooks.post(to, posted(told))
        return await self._servers.hand_over(mail(told, sender=self._servers.sender, recipient=to), to)
