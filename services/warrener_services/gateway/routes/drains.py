"""Drains: workers and hosts that a person wants to get no more work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path

from warrener.errors import NotFound
from warrener.problems import meant, printable
from warrener.store import Drain
from warrener.views import DrainAsked, DrainView
from warrener_services.gateway.gateway import Gateway
from warrener_services.gateway.standing import drain_view

from .given import TheGateway

router = APIRouter(prefix="/drains", tags=["deployment"])

What = Literal["worker", "host"]
TheName = Annotated[str, Path(max_length=200, description="The name of a worker, or of a host.")]


@router.get("", summary="List drained workers and hosts")
async def drains(gateway: TheGateway) -> list[DrainView]:
    """List what gets no more work because a person said so."""
    return [drain_view(drain) for drain in await gateway.read(lambda tx: tx.restraints.drains())]


@router.put("/{what}/{name}", summary="Drain a worker or a host")
async def drain(what: What, name: TheName, asked: DrainAsked, gateway: TheGateway) -> DrainView:
    """Answer once it is committed: it gets no more work from then on, and what runs there ends as planned.

    It stays drained when it restarts. Its schedulers tell it within about a second.
    """
    known = _known(gateway, what)
    if name not in known:
        raise NotFound(
            f"no {what} {printable(name)!r} was heard{meant(name, known)}; `warrener workers` lists who is there"
        )
    wanted = Drain(what, name, asked.by, asked.reason, gateway.clock.now())
    await gateway.write(lambda tx: tx.restraints.drain(wanted))
    return drain_view(wanted)


@router.delete("/{what}/{name}", summary="Let a worker or a host work again")
async def undrain(what: What, name: TheName, gateway: TheGateway) -> DrainView:
    """Answer once it is committed; work comes within about a second."""
    known = {(one.what, one.name): one for one in await gateway.read(lambda tx: tx.restraints.drains())}
    one = known.get((what, name))
    if one is None:
        raise NotFound(f"{what} {printable(name)!r} is not drained{_instead(what, name, list(known))}")
    await gateway.write(lambda tx: tx.restraints.undrain(what, name))
    return drain_view(one)


def _known(gateway: Gateway, what: What) -> list[str]:
    workers = gateway.roll.call(gateway.clock.now())
    return sorted({worker.name if what == "worker" else worker.host for worker in workers})


def _instead(what: What, name: str, drained: Sequence[tuple[str, str]]) -> str:
    """Say what is drained that may have been meant: the host of that name, or one whose name is near."""
    other = "host" if what == "worker" else "worker"
    if (other, name) in drained:
        return f"; the {other} of that name is: {'add' if other == 'host' else 'leave out'} --host"
    near = meant(name, [one for kind, one in drained if kind == what])
    return near or ("; nothing is" if not drained else "; `warrener workers` says who is")
