"""What a route is given: the desk, and the parts of its path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from warrener_services.gateway.desk import Desk


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


TheDesk = Annotated[Desk, Depends(_desk)]
TheRun = Annotated[str, Path(description="A run's id, or the beginning of one (at least 4 characters).")]
TheTask = Annotated[str, Path(description="A task's name.")]
