"""The store: whether it can be reached, is at this version, and keeps what it says it keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator

from warrener.errors import InvalidSettings, StoreRefused, StoreUnavailable
from warrener.settings import Settings
from warrener.stores.examined import StoreSeen, examine

from .findings import Finding, fault, unused, warning, well

_ABOUT = "store"
_OLDEST_POSTGRESQL = 14
_CLOCKS_APART_S = 2.0
_LOSES = {"fsync": ("off",), "synchronous_commit": ("off",), "full_page_writes": ("off",)}
"""Settings of PostgreSQL under which it says that something is kept when it is not."""


async def look(settings: Settings) -> list[Finding]:
    """Look at the store of the settings."""
    if not settings.store and (settings.join or not settings.broker.startswith("memory:")):
        return [unused(_ABOUT, "WARRENER_STORE is not set; schedulers and gateways need it, workers do not")]
    try:
        return list(judge(await examine(settings.store_url)))
    except InvalidSettings as error:
        return [fault(_ABOUT, str(error), "correct WARRENER_STORE")]
    except StoreUnavailable as error:
        if settings.store_url.startswith("sqlite") and "there is no" in str(error):
            return [unused(_ABOUT, str(error))]
        return [
            fault(_ABOUT, str(error), "start it, or set WARRENER_STORE to postgresql://user:password@host/database")
        ]
    except StoreRefused as error:
        return [fault(_ABOUT, str(error), "look into the database's log")]


def judge(seen: StoreSeen) -> Iterator[Finding]:
    """Say what there is to say of a database that lets us in."""
    named = f"{seen.product} {seen.version}"
    if not seen.known:
        yield fault(
            _ABOUT,
            f"{named}: a newer version of Warrener has brought its tables to migration {seen.migration}; this one knows"
            f" those up to {seen.newest}",
            "upgrade this program",
        )
    elif seen.migration is None:
        yield well(_ABOUT, f"{named}; empty: the first program that starts makes the tables")
    elif seen.migration != seen.newest:
        yield well(
            _ABOUT, f"{named}; at migration {seen.migration}: the next program that starts brings it to {seen.newest}"
        )
    else:
        yield well(_ABOUT, f"{named}; at migration {seen.migration}, the newest")
    if seen.product == "PostgreSQL":
        yield from _judge_postgresql(seen)


def _judge_postgresql(seen: StoreSeen) -> Iterator[Finding]:
    major = int(re.sub(r"\D.*", "", seen.version) or 0)  # of 15.18 (Debian), and of 17beta1
    if major < _OLDEST_POSTGRESQL:
        yield warning(_ABOUT, f"PostgreSQL {major} is older than what was tried", "upgrade it to 14 or newer")
    for name, wrong in _LOSES.items():
        if seen.settings.get(name) in wrong:
            yield fault(
                _ABOUT,
                f"{name} is {seen.settings[name]}: when the power fails, what was accepted may be lost",
                f"set {name} = on in postgresql.conf, and restart PostgreSQL",
            )
    if abs(seen.clock_s) > _CLOCKS_APART_S:
        yield warning(
            "clocks",
            f"the database's clock is {abs(seen.clock_s):.1f} s {'ahead of' if seen.clock_s > 0 else 'behind'} this"
            " host's: leases do not mind, but times that people see do, and so do grace and deadlines",
            "let both hosts follow a time server (chrony, systemd-timesyncd)",
        )
    else:
        yield well("clocks", f"this host and the database agree within {abs(seen.clock_s) + 0.05:.1f} s")
