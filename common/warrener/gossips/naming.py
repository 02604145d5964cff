"""Gossip as the naming service: one member's address is enough to find broker, store and gateway.

A program of the deployment that has `orders.key` answers the query `warrener-find` with addresses, without users and
passwords, and signed: every member knows the gossip key, so anyone of them could answer, and have others send
their passwords to a host of his. Whoever asks checks with `orders.pub`, and joins its own login to the address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

import structlog
from pydantic import Field

from warrener.errors import Forged, GossipUnavailable, InvalidMessage, InvalidSettings
from warrener.gossip import Gossip
from warrener.gossips import open_gossip
from warrener.gossips.proved import proved, read_proved
from warrener.gossips.serf import SerfGossip
from warrener.messages import Body
from warrener.settings import Settings
from warrener.signing import OrderSigner, OrderVerifier, read_verifier

QUERY = "warrener-find"
MAX_BYTES = 900
"""Serf carries 1024 in an answer, with its own words around it."""

_AGAIN_S = 1.0
_SEEDS = 5
_WITHIN = timedelta(seconds=2)

log = structlog.get_logger("warrener.agent")


class Found(Body):
    """Where the parts of a deployment are; an address that is not to be told is empty."""

    KIND = "found/1"
    kind: Literal["found/1"] = "found/1"
    broker: str = ""
    store: str = ""
    gateway: str = ""
    seeds: list[str] = Field(default=[], max_length=100)


def deployment_of(settings: Settings, members: Sequence[str] = ()) -> Found:
    """Return what the settings say of the deployment: servers only, no files of this host, no logins.

    Addresses of living members stand in for seeds that are not set.
    """
    return Found(
        broker=_told(settings.broker, "amqp"),
        store=_told(settings.store, "postgresql"),
        gateway=_told(settings.gateway, "http"),
        seeds=list(settings.seeds or members)[:_SEEDS],
    )


def signed(found: Found, signer: OrderSigner) -> bytes:
    """Write an answer; seeds that find no room are left out."""
    while True:
        answer = proved(found, signer)
        if len(answer) <= MAX_BYTES:
            return answer
        if not found.seeds:
            raise InvalidSettings(f"the addresses of this deployment take more than {MAX_BYTES} bytes")
        found = found.model_copy(update={"seeds": found.seeds[:-1]})


async def answer_for_ever(gossip: SerfGossip, answer: Callable[[], bytes]) -> None:
    """Answer whoever looks for the deployment, until cancelled."""
    while True:
        try:
            await gossip.answer(QUERY, answer)
        except GossipUnavailable as error:
            log.debug("nobody can ask where the deployment is", reason=str(error))
        await asyncio.sleep(_AGAIN_S)


async def find(gossip: Gossip, verifier: OrderVerifier) -> Found:
    """Ask until somebody answers; says once for whom it waits, and who answers without proof."""
    if not isinstance(gossip, SerfGossip):
        raise InvalidSettings("WARRENER_GOSSIP: without a Serf agent there is nobody to ask where the deployment is")
    doubted: set[str] = set()
    said = False
    while True:
        try:
            for member, payload in await gossip.ask(QUERY, within=_WITHIN):
                try:
                    return read_proved(payload, verifier, Found)
                except (Forged, InvalidMessage) as error:
                    if member not in doubted:
                        log.warning(
                            "passed over a member that names no proved deployment", member=member, reason=str(error)
                        )
                    doubted.add(member)
        except GossipUnavailable as error:
            log.debug("gossip cannot be asked", reason=str(error))
        if not said:
            log.info("waiting for a program `gossip` that says where broker and store are")
            said = True
        await asyncio.sleep(_AGAIN_S)


async def found_by(settings: Settings) -> Settings:
    """Return the settings with what WARRENER_JOIN leads to, or as they are without it. Raises InvalidSettings."""
    if not settings.join:
        return settings
    verifier = read_verifier(settings.keys_folder)
    gossip = open_gossip(settings.gossip)
    try:
        found = await find(gossip, verifier)
    finally:
        await gossip.close()
    log.info("gossip told where the deployment is", broker=found.broker, store=found.store, gateway=found.gateway)
    return with_found(settings, found)


def with_found(settings: Settings, found: Found) -> Settings:
    """Return the settings with what was found in the place of what is not set, with this program's own logins.

    Raises InvalidSettings.
    """
    given: dict[str, object] = {}
    if settings.broker == Settings.model_fields["broker"].default and found.broker:
        given["broker"] = _with_login(found.broker, settings.broker_login, "WARRENER_BROKER_LOGIN")
    if not settings.store and found.store and settings.store_login:
        given["store"] = _with_login(found.store, settings.store_login, "WARRENER_STORE_LOGIN")
    if not settings.gateway and found.gateway:
        given["gateway"] = found.gateway
    return settings.model_copy(update=given)


def _told(url: str, scheme: str) -> str:
    """Return a URL without its login; nothing, if it is not of this kind."""
    parts = urlsplit(url)
    if not parts.scheme.startswith(scheme) or not parts.hostname:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _with_login(url: str, login: str, variable: str) -> str:
    if not login:
        return url
    user, colon, password = login.partition(":")
    if not user or not colon:
        raise InvalidSettings(f"{variable}: give user:password")
    parts = urlsplit(url)
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"
    return urlunsplit(parts._replace(netloc=netloc))
