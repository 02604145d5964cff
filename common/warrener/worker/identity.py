"""Who a worker is."""

from __future__ import annotations

from dataclasses import dataclass

from warrener.ids import BootId, WorkerName
from warrener.messages import Kind
from warrener.site import Site


@dataclass(frozen=True, slots=True)
class Identity:
    """One life of one worker. `apps` are the apps whose calls it serves; empty for other kinds."""

    name: WorkerName
    boot: BootId
    kind: Kind
    apps: tuple[str, ...]
    site: Site
    slots: int
    host: str
    member: str | None = None

    @property
    def lanes(self) -> list[str]:
        """The lanes whose orders it takes, its own last."""
        shared = [f"call.{app}" for app in self.apps] if self.kind is Kind.CALL else [str(self.kind)]
        return [*shared, f"worker.{self.name}"]
