"""`hosts`: worker hosts lose their power or their network. `freezes`: they stop, and come back too late."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from fleet.hosts import Host

from .campaign import Campaign
from .history import now_s

KNOWN_WITHIN_S, MAILED_WITHIN_S, ANEW_WITHIN_S = 15.0, 20.0, 40.0
_OWNER_WAITS_S = 5.0
"""How much longer than a lease its owner waits."""


@dataclass(slots=True)
class _Loss:
    """A host that is lost, and what it held: (run, task name, attempt)."""

    host: Host
    way: str
    held: list[tuple[str, str, int]]
    trial: int = 0
    at_s: float = 0.0
    known_s: float | None = None
    anew_s: dict[tuple[str, str], float] = field(default_factory=dict)


# ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def hosts(campaign: Campaign) -> None:
    """Lose half of the worker hosts at a time: every second by its power, the others by their cable."""
    left = campaign.trials(20, 2)
    while left > 0:
        victims = await _victims(campaign, min(left, max(1, len(campaign.deployment.meadows) // 2)))
        left -= len(victims)
        losses = [
            _Loss(host, ("power", "cable")[(campaign.number + number) % 2], await _held(campaign, host))
            for number, host in enumerate(victims)
        ]
        await asyncio.gather(*(_lose(campaign, loss) for loss in losses))
        await _watch(campaign, losses)
        await _judge(campaign, losses)
        await asyncio.gather(*(_bring_back(campaign, loss) for loss in losses))


async def _victims(campaign: Campaign, count: int) -> Sequence[Host]:
    """Return hosts that hold long work, once enough of them do."""
    meadows = campaign.deployment.meadows

    async def busy() -> list[Host]:
        return [host for host in meadows if await _held(campaign, host)]

    async def enough() -> bool:
        return len(await busy()) >= count

    await campaign.until(enough, within_s=30)
    found = await busy() or await _somebody(campaign, busy)
    return campaign.rng.sample(found, min(count, len(found)))


async def _somebody(campaign: Campaign, busy: Callable[[], Awaitable[list[Host]]]) -> list[Host]:
    """Wait longer: a host that failed often gets no work for a while."""

    async def anybody() -> bool:
        return bool(await busy())

    if await campaign.until(anybody, within_s=120) is None:
        raise SystemExit(f"no host gets any work any more; see the logs in {campaign.deployment.folder}")
    return await busy()


async def _held(campaign: Campaign, host: Host) -> list[tuple[str, str, int]]:
    """Return the long attempts that run on a host."""
    rows = await campaign.eye.rows(
        "SELECT run, name, attempt FROM tasks WHERE state = 'running' AND name = 'long' AND worker = ANY($1::text[])",
        [f"job-{host.name}", f"call-{host.name}"],
    )
    return [(row["run"], row["name"], row["attempt"]) for row in rows or []]


async def _lose(campaign: Campaign, loss: _Loss) -> None:
    loss.trial = campaign.begins(loss.way, loss.host.name, held=len(loss.held))
    loss.at_s = now_s()
    if loss.way == "power":
        await asyncio.to_thread(campaign.deployment.power_off, loss.host)
    else:
        await asyncio.to_thread(loss.host.unplug)


async def _watch(campaign: Campaign, losses: Sequence[_Loss]) -> None:
    """Look until everything that was held runs elsewhere, or it is too late."""
    ends_s = now_s() + ANEW_WITHIN_S + 10

    def open_ones() -> bool:
        return any(len(loss.anew_s) < len(loss.held) for loss in losses)

    while open_ones() and now_s() < ends_s:
        rows = await campaign.eye.rows("SELECT run, name, attempt, state FROM tasks WHERE name = 'long'") or []
        states = {(row["run"], row["name"], row["attempt"]): row["state"] for row in rows}
        campaign.history.look()
        for loss in losses:
            _take_in(campaign, loss, states)
        await asyncio.sleep(0.2)


def _take_in(campaign: Campaign, loss: _Loss, states: dict[tuple[str, str, int], str]) -> None:
    if loss.known_s is None and any(states.get(one, "gone") in ("unreachable", "gone") for one in loss.held):
        loss.known_s = now_s() - loss.at_s
    held = {(run, task): attempt for run, task, attempt in loss.held}
    for line in campaign.history.since(loss.at_s):
        task = line["run"], line["task"]
        if task in held and task not in loss.anew_s and line["host"] != loss.host.name:
            loss.anew_s[task] = line["at"] - loss.at_s


async def _judge(campaign: Campaign, losses: Sequence[_Loss]) -> None:
    for loss in losses:
        limit = KNOWN_WITHIN_S if campaign.options.serf else None
        campaign.figure(f"{loss.way}: known, s", loss.known_s, target=loss.host.name, limit=limit)
        for run, task, _ in loss.held:
            took_s = loss.anew_s.get((run, task))
            campaign.figure(f"{loss.way}: placed anew, s", took_s, target=f"{run}/{task}", limit=ANEW_WITHIN_S)
        mailed_s = campaign.mailed(loss.host.name, loss.at_s)
        if campaign.history.mails:
            campaign.figure(f"{loss.way}: mail handed over, s", mailed_s, target=loss.host.name, limit=MAILED_WITHIN_S)
        for process in await asyncio.to_thread(_alive, campaign, loss):
            campaign.wrong(f"{loss.host.name} still works on what is placed anew: {process}", "stuck")
        campaign.over(loss.way, loss.host.name, loss.trial)


def _alive(campaign: Campaign, loss: _Loss) -> list[str]:
    """Return the processes of the lost attempts that still run on the lost host."""
    runs = [run for run, task in loss.anew_s]
    on_host = {str(pid) for pid in loss.host.pids()}
    return [line for line in campaign.deployment.leftovers(runs) if line.partition(" ")[0] in on_host] if runs else []


async def _bring_back(campaign: Campaign, loss: _Loss) -> None:
    back_s = now_s()
    if loss.way == "power":
        await asyncio.to_thread(campaign.deployment.power_on, loss.host)
    else:
        await asyncio.to_thread(loss.host.heal)
    took_s = await campaign.first_start(lambda line: line["host"] == loss.host.name, back_s, within_s=60)
    campaign.figure(f"{loss.way}: works again, s", took_s, target=loss.host.name)


# ── freezes ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def freezes(campaign: Campaign) -> None:
    """Freeze workers, or their whole hosts, until what they held is placed anew; then let them go on."""
    lease_s = campaign.options.lease_s or 3.0
    left = campaign.trials(100, 4)
    while left > 0:
        victims = await _victims(campaign, min(left, max(2, len(campaign.deployment.meadows) * 2 // 3)))
        left -= len(victims)
        away_s = lease_s + _OWNER_WAITS_S + campaign.rng.uniform(0.5, 3)
        ways = [campaign.rng.choice(("host", "program")) for _ in victims]
        await asyncio.gather(*(_freeze(campaign, host, way, away_s) for host, way in zip(victims, ways, strict=True)))
        await asyncio.sleep(campaign.rng.uniform(1, 2))


async def _freeze(campaign: Campaign, host: Host, way: str, away_s: float) -> None:
    held = await _held(campaign, host)
    trial = campaign.begins(f"freeze {way}", host.name, held=len(held))
    names = campaign.deployment.programs_on(host)
    if way == "host":
        await asyncio.to_thread(host.freeze)
    else:
        for name in names:
            campaign.deployment.signal(name, signal.SIGSTOP)
    await asyncio.sleep(away_s)
    if way == "host":
        await asyncio.to_thread(host.thaw)
    else:
        for name in names:
            campaign.deployment.signal(name, signal.SIGCONT)
    campaign.over(f"freeze {way}", host.name, trial, trials=1 if held else 0)
