"""Every campaign: a row of the table in docs/reliability.md."""

from __future__ import annotations

from .campaign import Plan
from .programs import kills

PLANS: dict[str, Plan] = {
    "kills": Plan(kills, "kill -9 of any program under load", minutes=9),
}
