"""What a route is given: the gateway, and the parts of its path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from warrener_services.gateway.gateway import Gateway


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


TheGateway = Annotated[Gateway, Depends(_gateway)]
TheRun = Annotated[str, Path(description="A run's id, or the beginning of one (at least 4 characters).")]
TheTask = Annotated[str, Path(description="A task's name.")]
