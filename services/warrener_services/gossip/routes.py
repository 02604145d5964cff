"""Who is told of what, and when not: the routes of alerts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from warrener.alerts import Alert, AlertKind, Severity
from warrener.errors import InvalidSettings, InvalidWorkflow
from warrener.problems import findings, join
from warrener.reading import read_yaml
from warrener.retries import PositiveDuration
from warrener.settings import Settings

from .quiet import QuietHours, quiet_until

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def address(text: str) -> str:
    """Return an address of mail; raises ValueError."""
    try:
        if _ADDRESS.fullmatch(text):
            return Address(addr_spec=text).addr_spec
    except (MessageError, IndexError, ValueError):  # whatever the library that writes mails makes of it
        pass
    raise ValueError(f"{text[:80]!r} is no address of mail; write one as ada@example.org")


def webhook(url: str) -> str:
    """Return the URL of a webhook; raises ValueError."""
    with suppress(ValueError):  # its text may quote a secret
        parts = urlsplit(url)
        if (parts.scheme == "https" and parts.hostname) or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            return url
    raise ValueError("a webhook is an https:// URL; http:// is for this host only, as in http://127.0.0.1:8080/hook")


def webhook_name(url: str) -> str:
    """Name a webhook without its path, which may be a secret."""
    return f"{urlsplit(url).hostname}-{hashlib.blake2b(url.encode(), digest_size=4).hexdigest()}"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Route(BaseModel):
    """Some addresses, and what they are told of. What is not said does not matter: no `site` means any site."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Texts = ()
    webhook: Texts = ()
    kind: Annotated[tuple[AlertKind, ...], BeforeValidator(_listed)] = ()
    severity: Severity = Severity.INFO
    """At least so urgent."""
    site: Texts = ()
    owner: Texts = ()
    quiet: Annotated[
        tuple[QuietHours, ...], BeforeValidator(lambda value: [value] if isinstance(value, Mapping) else value)
    ] = ()
    window: PositiveDuration | None = None
    """How long is gathered after a first mail; default: WARRENER_ALERT_WINDOW."""

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(address(one) for one in value)

    @field_validator("webhook")
    @classmethod
    def _are_webhooks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(webhook(one) for one in value)

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Route:
        if not self.to and not self.webhook:
            raise ValueError("a route leads somewhere: give to: or webhook:")
        return self

    def takes(self, alert: Alert) -> bool:
        """Tell whether this route is told of an alert."""
        return (
            alert.urgency.rank <= self.severity.rank
            and (not self.kind or alert.kind in self.kind)
            and (not self.site or alert.site in self.site)
            and (not self.owner or alert.owner in self.owner)
        )

    @property
    def destinations(self) -> tuple[str, ...]:
        return (*(f"mail:{one}" for one in self.to), *(f"webhook:{webhook_name(one)}" for one in self.webhook))


class RoutesFile(BaseModel):
    """The file of routes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    routes: Annotated[tuple[Route, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Way:
    """Where an alert goes. `window`: how long what follows is gathered.

    `quiet`: the quiet hours of each route that leads there; it is quiet while it is so for all of them.
    """

    destination: str
    window: timedelta
    quiet: tuple[tuple[QuietHours, ...], ...] = ((),)

    def loud_at(self, moment: datetime) -> datetime:
        """Return a moment, or when it is quiet no more."""
        return min(quiet_until(hours, moment) or moment for hours in self.quiet)

    @property
    def hush(self) -> str:
        """A name for its quiet hours; empty if it has none."""
        if not all(self.quiet):
            return ""
        text = " ".join(sorted({repr(hours) for hours in self.quiet}))
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def beside(self, other: Way) -> Way:
        """Return the way of an alert that takes both, to the same destination."""
        return Way(self.destination, min(self.window, other.window), self.quiet + other.quiet)


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes, and who is told of what none of them takes."""

    routes: tuple[Route, ...] = ()
    otherwise: Route | None = None
    window: timedelta = timedelta(minutes=5)

    def ways(self, alert: Alert) -> list[Way]:
        """Return where an alert goes. Each destination is told once."""
        if alert.kind == AlertKind.TEST:
            return [Way(destination, self.window) for destination in self.destinations]
        taking = [route for route in self.routes if route.takes(alert)]
        if not taking and self.otherwise is not None:
            taking = [self.otherwise]
        ways: dict[str, Way] = {}
        for route in taking:
            quiet = () if alert.severity is Severity.CRITICAL else route.quiet
            for destination in route.destinations:
                way = Way(destination, route.window or self.window, (quiet,))
                ways[destination] = ways[destination].beside(way) if destination in ways else way
        return list(ways.values())

    def loud_at(self, alert: Alert, destination: str, moment: datetime) -> datetime:
        """Return when a destination may be told of an alert: at a moment, or when it is quiet there no more."""
        ways = (way for way in self.ways(alert) if way.destination == destination)
        return max((way.loud_at(moment) for way in ways), default=moment)

    @property
    def destinations(self) -> list[str]:
        """Every destination that there is."""
        return list(dict.fromkeys(one for route in self._all for one in route.destinations))

    @property
    def webhooks(self) -> dict[str, str]:
        """The URLs of the webhooks by their names."""
        return {webhook_name(url): url for route in self._all for url in route.webhook}

    @property
    def _all(self) -> Iterator[Route]:
        yield from self.routes
        if self.otherwise is not None:
            yield self.otherwise


def read_routes(settings: Settings) -> Routes:
    """Return the routes that the settings give; raises InvalidSettings with every problem of the file."""
    otherwise = None
    if settings.mail_to or settings.webhook:
        _checked("WARRENER_MAIL_TO", address, settings.mail_to)
        hooks = (settings.webhook,) if settings.webhook else ()
        _checked("WARRENER_WEBHOOK", webhook, hooks)
        otherwise = Route(to=settings.mail_to, webhook=hooks)
    routes = _read(settings.alert_routes) if settings.alert_routes else ()
    return Routes(routes, otherwise, settings.alert_window)


def _checked(variable: str, check: Any, values: Iterable[str]) -> None:
    for value in values:
        try:
            check(value)
        except ValueError as error:
            raise InvalidSettings(f"{variable}: {error}") from error


def _read(path: Path) -> tuple[Route, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InvalidSettings(f"WARRENER_ALERT_ROUTES: {path} cannot be read: {reason}") from error
    try:
        value, _ = read_yaml(text, str(path))
    except InvalidWorkflow as error:
        raise InvalidSettings("\n".join(f"WARRENER_ALERT_ROUTES: {problem}" for problem in error.problems)) from error
    try:
        return RoutesFile.model_validate(value).routes
    except ValidationError as error:
        problems = [
            f"WARRENER_ALERT_ROUTES: {path}: {join(problem.path) or 'the file'}: {problem.says}"
            for problem, _ in findings(error, RoutesFile, ())
        ]
        raise InvalidSettings("\n".join(problems)) from error
