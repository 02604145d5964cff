"""The gossips: one module each, behind `warrener.gossip`; `open_gossip` chooses by URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from warrener.errors import GossipUnavailable, InvalidSettings
from warrener.gossip import Gossip

_FORMS = (
    "give serf://[key@]host:port, the RPC address of the Serf agent beside this program "
    "(special characters of the key as %XX), agent:///folder, the folder of `warrener serve agent`, "
    "or static:// for no gossip"
)


def open_gossip(url: str) -> Gossip:
    """Return the gossip of this URL, waiting for nothing. Raises InvalidSettings, which shows no key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Its text may quote the key: the cause is not kept.
        raise InvalidSettings(f"WARRENER_GOSSIP: this is no URL; {_FORMS}") from None
    if parts.scheme == "static" and not parts.netloc and not parts.path:
        from warrener.gossips.static import StaticGossip

        return StaticGossip()
    if parts.scheme == "agent" and not parts.netloc and len(parts.path) > 1:
        from warrener.gossips.serf import SerfGossip

        folder = Path(parts.path)
        return SerfGossip.found_by(lambda: _agent_of(folder), folder)
    if parts.scheme == "serf":
        from warrener.gossips.serf import SerfGossip

        host, port, key = _agent(parts)
        return SerfGossip(host, port, auth_key=key)
    raise InvalidSettings(f"WARRENER_GOSSIP: no gossip has a URL like this; {_FORMS}")


def _agent_of(folder: Path) -> tuple[str, int, str | None]:
    from warrener.gossips.agent_folder import agent_url

    try:
        return _agent(urlsplit(agent_url(folder)))
    except (OSError, ValueError) as error:
        raise GossipUnavailable(
            f"there is no Serf agent in {folder} (WARRENER_GOSSIP): start `warrener serve agent` on this host: {error}"
        ) from error


def _agent(parts: SplitResult) -> tuple[str, int, str | None]:
    key, at, _ = parts.netloc.rpartition("@")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidSettings(f"WARRENER_GOSSIP: a serf:// URL needs a host, a port, and nothing more; {_FORMS}")
    return parts.hostname, port, unquote(key) if at and key else None
