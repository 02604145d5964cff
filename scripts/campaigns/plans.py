"""Every campaign: a row of the table in docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterator

from .campaign import Options, Plan
from .deployment import QUICK
from .gossips import gossip
from .hardships import clock, disk, mixed, small_disks, wrong_clocks
from .load import Load, Request
from .machines import freezes, hosts
from .messages import messages
from .networks import loss, partitions
from .programs import kills
from .servers import broker, database, rebuild


def _long(load: Load, options: Options) -> Iterator[Request]:
    return load.leased(None, 8, 12) if options.short else load.leased(None, 40, 60)


def _leased(load: Load, options: Options) -> Iterator[Request]:
    lease_s = options.lease_s or 3.0
    return load.leased(lease_s, 1.0, 2 * lease_s + 6)


def _steady(load: Load, options: Options) -> Iterator[Request]:
    return load.leased(None, 5, 10) if options.short else load.leased(None, 10, 40)


PLANS: dict[str, Plan] = {
    "kills": Plan(kills, "kill -9 of any program under load", minutes=8),
    "hosts": Plan(
        hosts, "worker hosts lose their power, or their cable is pulled", minutes=6, meadows=10, slots=8, rate=0.8,
        load=_long, settings={**QUICK, "WARRENER_LEASE": "30s"}, short_settings={"WARRENER_LEASE": "6s"},
    ),
    "freezes": Plan(
        freezes, "workers or whole hosts freeze beyond their leases, and come back", minutes=4, meadows=9,
        slots=6, rate=3, load=_leased,
    ),
    "broker": Plan(
        broker, "the broker is killed, frozen, emptied, or loses its disk", minutes=5, meadows=3, slots=100, rate=4,
    ),
    "rebuild": Plan(
        rebuild, "a broker that holds 10,000 orders loses its disk", minutes=2, meadows=4, slots=2_500, rate=0,
        settings={**QUICK, "WARRENER_LEASE": "30s", "WARRENER_ORDER_TIMEOUT": "30s"},
        short_settings={"WARRENER_ORDER_TIMEOUT": "15s"},
    ),
    "partitions": Plan(partitions, "services are cut off from the broker", minutes=4, meadows=8, rate=10),
    "messages": Plan(
        messages, "messages come again: doubled, reordered, a day old", minutes=3, meadows=3, slots=8, rate=10,
    ),
    "gossip": Plan(
        gossip, "Serf agents freeze, die, are split, and lie", minutes=9, meadows=10, slots=8, rate=1.5, single=True,
        load=_steady, settings={**QUICK, "WARRENER_LEASE": "30s", "WARRENER_ORDER_TIMEOUT": "60s"},
    ),
    "database": Plan(database, "the database is killed, restarted, frozen, cut", minutes=6, meadows=3, slots=8, rate=8),
    "loss": Plan(loss, "hosts lose a part of their packets", minutes=3, meadows=5, rate=6),
    "disk": Plan(
        disk, "disks of worker hosts fill up", minutes=2, meadows=3, rate=6, before=small_disks,
        load=lambda load, _: load.hindered(),
    ),
    "clock": Plan(clock, "clocks step by seconds, hours, days", minutes=2, surroundings=wrong_clocks),
    "mixed": Plan(mixed, "everything, at once", minutes=7, meadows=4, rate=6),
}  # fmt: skip
