"""The gateway: whether it answers, is of this version, and can reach the parts behind it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from warrener.alerts import redacted
from warrener.async_client import AsyncClient
from warrener.errors import WarrenerError
from warrener.settings import Settings
from warrener.views import Health

from .findings import Finding, fault, unused, warning, well

_ABOUT = "gateway"


async def look(settings: Settings) -> list[Finding]:
    """Ask the gateway of the settings."""
    try:
        async with AsyncClient(settings.gateway_url, token=settings.token) as client:
            health = await client.health()
            workers = len(await client.workers()) if health.store else 0
    except WarrenerError as error:
        if settings.gateway or settings.listen:
            return [fault(_ABOUT, str(error), "start it, or correct WARRENER_GATEWAY (or _LISTEN) and WARRENER_TOKEN")]
        return [unused(_ABOUT, str(error))]
    return list(judge(health, workers, where=redacted(settings.gateway_url), own=version("warrener")))


def judge(health: Health, workers: int, *, where: str, own: str) -> Iterator[Finding]:
    """Say what there is to say of a gateway that answers."""
    if not health.store:
        yield fault(_ABOUT, f"the gateway at {where} cannot reach its database", "see what its log says of the store")
    if not health.broker:
        yield fault(
            _ABOUT, f"the gateway at {where} cannot use its broker: {health.broker_trouble or 'it is away'}",
            "what it accepts is safe, and is taken up when the broker is back",
        )  # fmt: skip
    if health.version and health.version != own:
        yield warning(_ABOUT, f"the gateway is version {health.version}, this is {own}", "upgrade the older one")
    if health.store and health.broker:
        heard = f"{workers} worker{'' if workers == 1 else 's'} heard"
        yield (
            well(_ABOUT, f"it answers at {where}; {heard}")
            if workers
            else warning(
                _ABOUT, f"it answers at {where}, and has heard no worker", "start some: `warrener serve job_submission`"
            )
        )
