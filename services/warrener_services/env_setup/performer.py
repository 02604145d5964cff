"""Env tasks: build the environment of a recipe, or find it built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warrener.environment import Environment
from warrener.errors import Cause, TaskFailed
from warrener.ids import AttemptRef
from warrener.messages import Json, Kind
from warrener.performer import Assignment


class EnvPerformer:
    """Performs env tasks with the environments given, by the name of their manager."""

    kind = Kind.ENV

    def __init__(self, environments: Mapping[str, Environment]) -> None:
        self._environments = environments

    async def perform(self, assignment: Assignment) -> Json:
        manager = str(assignment.order.body.get("manager", "venv"))
        environment = self._environments.get(manager)
        if environment is None:
            known = ", ".join(sorted(self._environments))
            raise TaskFailed(Cause.REFUSED, f"this worker has no environments of {manager!r}, only of: {known}")
        built = await environment.build(assignment.order.body, log=assignment.log)
        how = "reused" if built.reused else f"built in {built.seconds:.1f} s:"
        assignment.log("stdout", f"{how} {built.path}\n")
        return {
            "path": str(built.path),
            "python": str(built.python),
            "site_packages": str(built.site_packages),
            "digest": built.digest,
            "reused": built.reused,
        }

    async def extended(self, assignment: Assignment) -> None:
        """Nothing outlives the worker, so nothing needs the lease."""

    async def recover(self) -> Sequence[Assignment]:
        return ()

    async def forget(self, ref: AttemptRef) -> None:
        """Nothing is kept about an attempt; environments stay for others."""
