"""Mail: whether each mail server would take the alerts, with a valid certificate and a right password."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from warrener.errors import InvalidSettings
from warrener.settings import Settings

from .findings import Finding, fault, unused, warning, well

if TYPE_CHECKING:
    from warrener_services.gossip.mailing import HandedOver
    from warrener_services.gossip.routes import Routes

_ABOUT = "mail"


async def look(settings: Settings) -> list[Finding]:
    """Go with each mail server of the settings as far as one can without a mail."""
    from warrener_services.gossip.mailing import MailServers
    from warrener_services.gossip.routes import read_routes

    if not (settings.mail_servers or settings.mail_to or settings.alert_routes or settings.webhook):
        return [unused(_ABOUT, "WARRENER_MAIL_TO is not set; only `gossip` needs it, to tell admins of alerts")]
    try:
        routes = read_routes(settings)
        seen = await MailServers(settings).look()
    except InvalidSettings as error:
        return [fault(_ABOUT, str(error), "correct it; `gossip` does not start before")]
    return [*judge(seen), *_judge_routes(routes, served=bool(settings.mail_servers))]


def judge(seen: Sequence[HandedOver]) -> Iterator[Finding]:
    """Say how it went with each server; one that takes mails is enough."""
    works = any(one.verdict == "sent" for one in seen)
    for one in seen:
        if one.verdict == "sent":
            yield well(_ABOUT, one.outcome)
        elif works:
            yield warning(_ABOUT, one.outcome, "another server takes its place meanwhile")
        else:
            yield fault(_ABOUT, one.outcome, "correct it; alerts wait in the database until then")


def _judge_routes(routes: Routes, *, served: bool) -> Iterator[Finding]:
    mails = [one for one in routes.destinations if one.startswith("mail:")]
    if served and not mails:
        yield warning(
            _ABOUT, "no mail is to go to anybody: WARRENER_MAIL_TO is not set", "set it, then `warrener alerts test`"
        )
    if mails and not served:
        yield fault(
            _ABOUT, "mails are to go to somebody, and WARRENER_MAIL_SERVERS is not set", "set it to smtp://host:587"
        )
    for name in routes.webhooks:
        yield well(_ABOUT, f"alerts go to the webhook {name}, which was not tried: `warrener alerts test` does")
