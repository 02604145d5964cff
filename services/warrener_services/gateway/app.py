"""The REST app: routers, and errors as answers. Every refusal has the body `{"problems": ["sentence", …]}`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from warrener.errors import Conflict, InvalidWorkflow, NotFound, Overloaded, Refused, Unavailable, WarrenerError
from warrener.problems import join, meant
from warrener.views import AckAsked, Submission

from .gateway import Gateway
from .guard import App, Guard
from .routes import alerts, configuration, deployment, drains, parked, runs, tasks
from .routes.alerts import AlertsAsked
from .routes.runs import RunsAsked

log = structlog.get_logger(__name__)

_DESCRIPTION = """\
Submit workflows, look at their runs, and steer them.

Accepted means committed: the answer 202 comes after the transaction, and repeating a submission with the same owner
and key gives the same run. An answer 429 means that nothing was done: repeat it after `Retry-After`. On TCP
every request carries `Authorization: Bearer <token>`; only `GET /health` does not.
"""
_RETRY_AFTER_S = "2"


class Problems(BaseModel):
    """Why something was refused: a sentence for each problem."""

    problems: list[str]


_REFUSALS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problems, "description": "There is no such thing."},
    409: {"model": Problems, "description": "Its state does not allow this."},
    429: {"model": Problems, "description": "More than is taken now; nothing was done. Repeat after `Retry-After`."},
    422: {"model": Problems, "description": "The input is wrong; every problem is named."},
    503: {"model": Problems, "description": "The store or the broker is away; repeat after `Retry-After`."},
}


_BODY_FIELDS = [*Submission.model_fields, *AckAsked.model_fields]
_QUERY_FIELDS = [*RunsAsked.model_fields, *AlertsAsked.model_fields]

_STATUS: Mapping[type[Exception], int] = {NotFound: 404, Conflict: 409}


def make_app(gateway: Gateway, *, token: str) -> App:
    """Make the app, with its guard before it."""
    app = FastAPI(
        title="Warrener",
        version=version("warrener"),
        description=_DESCRIPTION,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=_REFUSALS,
    )
    app.state.gateway = gateway
    for part in (runs, tasks, parked, alerts, deployment, drains, configuration):
        app.include_router(part.router)
    app.add_exception_handler(WarrenerError, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _broken)
    return Guard(cast("App", app), token=token)


def _answer(status: int, problems: Sequence[str], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"problems": list(problems)}, status, headers=headers)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    match error:
        case InvalidWorkflow():
            return _answer(422, error.problems)
        case Refused():
            return _answer(_STATUS.get(type(error), 422), [str(error)])
        case Overloaded():
            return _answer(429, [str(error)], {"Retry-After": str(math.ceil(error.retry_after_s))})
        case Unavailable():
            return _answer(503, [str(error)], {"Retry-After": _RETRY_AFTER_S})
        case _:
            return await _broken(_request, error)


async def _unreadable(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(422, list(dict.fromkeys(_sentence(found) for found in error.errors())))


def _sentence(found: Mapping[str, Any]) -> str:
    source, *steps = found["loc"]
    place = join(step for step in steps if step not in ("str", "dict[str,any]"))
    if found["type"] == "json_invalid":
        return f"the body is no JSON: {found.get('ctx', {}).get('error', found['msg'])}"
    if found["type"] == "extra_forbidden":
        known = _BODY_FIELDS if source == "body" else _QUERY_FIELDS
        return f"{place}: there is no such field{meant(steps[-1], known)}"
    if found["type"] == "missing":
        return f"{place}: this field is missing" if place else "the body is missing; send JSON"
    if found["type"] == "model_attributes_type":
        return f"{place or 'the body'}: expected a JSON object, with Content-Type: application/json"
    return f"{place or source}: {found['msg']}"


async def _no_route(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    says = "there is nothing at this path; GET /openapi.json describes what there is"
    return _answer(error.status_code, [says if error.status_code == 404 else str(error.detail)], error.headers)  # noqa: PLR2004


async def _broken(request: Request, error: Exception) -> JSONResponse:
    log.error("a request broke the gateway", path=request.url.path, exc_info=error)
    return _answer(500, ["the gateway failed at this; its log says why"])
