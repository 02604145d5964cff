"""What a process finds in its environment: that of `elastic`, but for what is its own, and what the rule says."""

from __future__ import annotations

from collections.abc import Mapping

from warrener.setting_files import SUFFIX
from warrener.settings import Settings
from warrener_services.elastic.rules import Pool

_PREFIX = "WARRENER_"
_OWN = frozenset(
    f"{_PREFIX}{name}{suffix}"
    for name in ("HEALTH", "WORKER", "AGENT", "AGENT_ADVERTISE", "SEEDS", "JOIN")
    for suffix in ("", SUFFIX)
)
"""Settings that no two programs of a host can share: its agent's folder and port above all."""
_FOUND = ("broker", "store", "gateway")
"""What gossip may have told, where it is not set."""


def surroundings(inherited: Mapping[str, str], settings: Settings, pool: Pool) -> dict[str, str]:
    """Return the environment of a pool's processes, but for their names. `settings`: what `elastic` runs under.

    Its agent is theirs, and what WARRENER_JOIN has found.
    """
    assert pool.processes is not None
    told = {"WARRENER_SLOTS": str(pool.slots or settings.slots), "WARRENER_SITE": pool.site or settings.site}
    found: dict[str, str] = {}
    if settings.agent or settings.join:
        told["WARRENER_GOSSIP"] = settings.gossip
    if settings.join:
        found = {f"{_PREFIX}{name.upper()}": url for name in _FOUND if (url := getattr(settings, name))}
    passed_on = {name: value for name, value in inherited.items() if name not in _OWN}
    return _over(_over(_over(found, passed_on), told), pool.processes.environment)


def _over(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """Lay variables over others; a setting also takes the place of the same one in a file, and the other way round."""
    hidden = {_twin(name) for name in above if name.startswith(_PREFIX)}
    return {name: value for name, value in below.items() if name not in hidden} | dict(above)


def _twin(name: str) -> str:
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else name + SUFFIX
