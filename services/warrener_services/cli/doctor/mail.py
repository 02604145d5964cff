"""Mail: whether each mail server would take the alerts, with a valid certificate and a right password."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from warrener.errors import InvalidSettings
from warrener.settings import Settings

from .findings import Finding, fault, unused, warning, well

if TYPE_CHECKING:
    from warrener_services.gossip.mailing import HandedOver

_ABOUT = "mail"


async def look(settings: Settings) -> list[Finding]:
    """Go with each mail server of the settings as far as one can without a mail."""
    from warrener_services.gossip.mailing import MailServers
    from warrener_services.gossip.routes import read_routes

    if not (settings.mail_servers or settings.mail_to or settings.alert_routes or settings.webhook):
        return [unused(_ABOUT, "WARRENER_MAIL_TO is not set; only `gossip` needs it, to tell admins of alerts")]
    try:
        read_routes(settings)
        seen = await MailServers(settings).look()
    except InvalidSettings as error:
        return [fault(_ABOUT, str(error), "correct it; `gossip` does not start before")]
    return list(judge(seen, settings))


def judge(seen: Sequence[HandedOver], settings: Settings) -> Iterator[Finding]:
    """Say how it went with each server; one that takes mails is enough."""
    works = any(one.verdict == "sent" for one in seen)
    for one in seen:
        if one.verdict == "sent":
            yield well(_ABOUT, one.outcome)
        elif works:
            yield warning(_ABOUT, one.outcome, "another server takes its place meanwhile")
        else:
            yield fault(_ABOUT, one.outcome, "correct it; alerts wait in the database until then")
    if settings.mail_servers and not (settings.mail_to or settings.alert_routes):
        yield warning(
            _ABOUT, "nobody is to be told: WARRENER_MAIL_TO is not set", "set it, then `warrener alerts test`"
        )
    if settings.mail_to and not settings.mail_servers:
        yield fault(_ABOUT, "WARRENER_MAIL_TO is set, and WARRENER_MAIL_SERVERS is not", "set it to smtp://host:587")
