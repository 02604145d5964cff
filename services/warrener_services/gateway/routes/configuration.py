"""What is configured for all programs while they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path

from warrener.errors import Refused
from warrener.problems import meant
from warrener.runtime.logs import LEVELS
from warrener.settings import Settings
from warrener.store import ConfiguredRow
from warrener.views import ConfiguredAsked, ConfiguredView

from .given import TheGateway

router = APIRouter(prefix="/configuration", tags=["deployment"])

CHANGEABLE = {"log": LEVELS}
"""What can change while programs run, and the values that it can have."""

TheName = Annotated[str, Path(description="The name of a setting, such as `log`.", max_length=100)]


@router.get("", summary="List what is configured")
async def listed(gateway: TheGateway) -> Sequence[ConfiguredView]:
    """What is not listed is as each program's own settings say."""
    return [_view(row) for row in await gateway.read(lambda tx: tx.configuration.all()) if row.value is not None]


@router.put("/{name}", summary="Configure a setting for all programs")
async def configure(name: TheName, asked: ConfiguredAsked, gateway: TheGateway) -> ConfiguredView:
    """Programs with an agent hear of it within seconds."""
    _check(name, asked.value)
    now = gateway.clock.now()
    version = await gateway.write(lambda tx: tx.configuration.set(name, asked.value, now))
    return ConfiguredView(name=name, value=asked.value, version=version, at=now)


@router.delete("/{name}", summary="Let each program's own setting hold again")
async def forget(name: TheName, gateway: TheGateway) -> ConfiguredView:
    """Return the version at which it was given up; its value is empty."""
    _check(name, None)
    now = gateway.clock.now()
    version = await gateway.write(lambda tx: tx.configuration.set(name, None, now))
    return ConfiguredView(name=name, value="", version=version, at=now)


def _check(name: str, value: str | None) -> None:
    if name not in CHANGEABLE:
        if name in Settings.model_fields:
            raise Refused(
                f"{name} is read once, when a program starts: set WARRENER_{name.upper()} for it and restart it;"
                f" while programs run, only {', '.join(CHANGEABLE)} can change"
            )
        raise Refused(f"there is no setting {name!r} that can change while programs run{meant(name, CHANGEABLE)}")
    if value is not None and value not in CHANGEABLE[name]:
        raise Refused(f"{name}: {value[:80]!r} is none of {', '.join(CHANGEABLE[name])}")


def _view(row: ConfiguredRow) -> ConfiguredView:
    return ConfiguredView(name=row.name, value=row.value or "", version=row.version, at=row.at)
